"""What make bench-tuning makes of trials: the best so far, at equal steps, and in words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.tuning import WAYS
from benchmarks.tuning_page import (
    BUDGET,
    SEEDS,
    Point,
    best_by_steps,
    document,
    picture,
    sentence,
    value_at,
)
from tuning.records import Trial, TrialEnd, TrialStart


def trial(number: int, ended: TrialEnd | None) -> Trial:
    return Trial(TrialStart(number, {}, {}, 100), ended)


def test_the_best_by_steps_counts_all_steps_and_only_finished_trials() -> None:
    trials = [
        trial(0, TrialEnd("finished", [(50, 4.0), (100, 3.5)], time=3.0)),
        trial(1, TrialEnd("stopped", [(50, 3.0)], time=1.0)),
        trial(2, TrialEnd("failed", [(20, 3.1)], time=2.0, reason="diverged")),
        trial(3, TrialEnd("finished", [(100, 3.7)], time=4.0)),
        trial(4, TrialEnd("finished", [(100, 3.4)], time=5.0)),
        trial(5, None),
    ]
    curve = best_by_steps(trials)
    assert [point.steps for point in curve] == [50, 70, 170, 270, 370]
    assert [point.bits_per_dim for point in curve] == [math.inf, math.inf, 3.5, 3.5, 3.4]
    assert value_at(curve, 169) == math.inf
    assert value_at(curve, 170) == 3.5
    assert value_at(curve, 1000) == 3.4


def results(ends: dict[str, list[float]]) -> dict[str, Any]:
    curves = {
        way: [[vars(Point(BUDGET // 2, end + 0.1)), vars(Point(BUDGET, end))] for end in found]
        for way, found in ends.items()
    }
    overhead = {
        "trials": 4, "at_once": 2, "seconds_of_a_trial": 60.0, "wall_seconds": 126.0, "ratio": 1.05,
    }  # fmt: skip
    return {
        "teacher_bits_per_dim": 3.0, "curves": curves, "overhead": overhead, "seconds": 900,
        "machine": "2 cores", "torch": "2.13.0", "date": "2026-11-25",
    }  # fmt: skip


def test_what_is_said_is_what_was_found(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/results").mkdir(parents=True)
    first, second, third = WAYS
    found = results({first: [3.2, 3.3, 3.1], second: [3.3, 3.2, 3.2], third: [3.0, 3.0, 3.0]})
    said = sentence(found)
    assert f"0.033 bits/dim better than {second} on average, and better in 2 of 3 seeds" in said
    assert f"0.200 bits/dim worse than {third} on average, and better in 0 of 3 seeds" in said
    assert len(SEEDS) == 3
    page = document(found)
    assert said in page.replace("\n", " ")
    assert f"| {first} | none finished | 3.300 ± 0.100 | 3.200 ± 0.100 | 2 |" in page
    assert "1.050 times" in page
    assert (tmp_path / "docs/results/tuning.png").read_bytes() == picture(found)
