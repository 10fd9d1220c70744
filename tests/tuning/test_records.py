"""Which trial of a search is the best: one that was trained to its end."""

from __future__ import annotations

import pytest

from tuning.records import Trial, TrialEnd, TrialStart, TrialStatus, best_of, ranked


def trial(number: int, state: TrialStatus | None, bits: float = 0.0) -> Trial:
    end = TrialEnd(state, [(5, bits + 1), (10, bits)], 1.0) if state else None
    return Trial(TrialStart(number, {}, {}, 100), end)


@pytest.mark.parametrize("state", ["failed", "stopped", None])
def test_only_a_finished_trial_is_the_best(state: TrialStatus | None) -> None:
    better = trial(0, state, 1.0)
    assert best_of([better]) is None
    assert best_of([better, trial(1, "finished", 3.0), trial(2, "finished", 2.0)]) == trial(
        2, "finished", 2.0
    )


def test_failed_trials_have_no_rank_and_finished_ones_lead() -> None:
    trials = [
        trial(0, "failed", 0.5), trial(1, "stopped", 1.0), trial(2, "finished", 3.0),
        trial(3, None), trial(4, "finished", 2.0),
    ]  # fmt: skip
    assert [each.start.number for each in ranked(trials)] == [4, 2, 1]
