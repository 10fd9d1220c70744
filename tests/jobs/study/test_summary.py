"""What a study makes of its figures: gaps, means and spreads."""

from __future__ import annotations

import statistics

import pytest

from jobs.study.measure import RunFigures, ThroughputRatio
from jobs.study.outcomes import RunOutcome
from jobs.study.results import RunRow
from jobs.study.summary import run_rows, summary_rows
from tests.support.small_studies import CHOSEN, ends, study

# Test bits/dim: teachers 2.0 and 2.2, plain 3.0, 3.1, 3.2; best closes half of each gap but one.
TESTS = {
    "study-s-teacher-t0": 2.0,
    "study-s-teacher-t1": 2.2,
    "study-s-plain-lr0.01-s5": 3.0,
    "study-s-plain-s6": 3.1,
    "study-s-plain-s7": 3.2,
    "study-s-best-t0-s5": 2.55,
    "study-s-best-t0-s6": 2.55,
    "study-s-best-t0-s7": 2.0,
    "study-s-best-t1-s5": 2.65,
    "study-s-best-t1-s6": 2.65,
    "study-s-longer-s5": 2.575,
}


def figures() -> dict[str, RunFigures]:
    return {
        name: RunFigures("", 1000 if "teacher" in name else 250, test + 0.1, test, 0.01, -5.0)
        for name, test in TESTS.items()
    }


def lines() -> list[RunRow]:
    outcomes = {name: ends(seconds=20) for name in TESTS}
    outcomes["study-s-best-t1-s7"] = RunOutcome(failed="step 9: nll is nan")
    ratios = {name: ThroughputRatio(4.0, 3.0) for name in TESTS if "teacher" not in name}
    return run_rows(study(), CHOSEN, outcomes, figures(), ratios)


def test_the_gap_is_closed_towards_ones_own_teacher() -> None:
    gaps = {(line.arm, line.teacher_seed, line.student_seed): line.gap_closed for line in lines()}
    assert gaps["best", 0, 5] == pytest.approx(0.5)  # (3.1 - 2.55) / (3.1 - 2.0)
    assert gaps["best", 1, 5] == pytest.approx(0.5)  # (3.1 - 2.65) / (3.1 - 2.2)
    assert gaps["best", 0, 7] == pytest.approx(1.0)
    assert gaps["longer", None, 5] == pytest.approx(0.525)  # the teachers' mean is 2.1
    assert gaps["plain", None, 6] == pytest.approx(0.0)
    assert gaps["teacher", 0, None] is None
    assert gaps["best", 1, 7] is None


def test_the_summary_has_means_spreads_and_what_is_missing() -> None:
    summary = {row.arm: row for row in summary_rows(study(), lines())}
    assert list(summary) == ["teacher", "plain", "best", "stages", "longer", "matched"]
    best = summary["best"]
    assert (best.runs, best.failed, best.missing) == (5, 1, 0)
    assert best.test == pytest.approx((2.55 + 2.55 + 2.0 + 2.65 + 2.65) / 5)
    assert best.gap_closed == pytest.approx(0.6)
    assert best.gap_spread == pytest.approx(statistics.stdev([0.5, 0.5, 1.0, 0.5, 0.5]))
    assert (best.gap_runs, best.reached) == (5, 1)
    assert (best.parameters_share, best.throughput_ratio, best.cpu_seconds) == (0.25, 4.0, 20.0)
    assert summary["plain"].test_spread == pytest.approx(0.1)
    assert (summary["longer"].runs, summary["longer"].missing) == (1, 2)
    assert summary["longer"].test_spread is None
    assert (summary["stages"].runs, summary["stages"].missing) == (0, 2)
    assert [summary[arm].plain for arm in ("teacher", "plain", "best", "longer")] == [
        False,
        True,
        False,
        True,
    ]


def test_a_row_in_stages_costs_both_stages() -> None:
    both = {"study-s-stages-t0-intermediate-s5": 30.0, "study-s-stages-t0-s5": 12.0}
    outcomes = {name: ends(seconds=seconds) for name, seconds in both.items()}
    measured = {"study-s-stages-t0-s5": RunFigures("", 250, 3.0, 3.0, 0.1, -5.0)}
    (line,) = run_rows(study(), CHOSEN, outcomes, measured, {})
    assert (line.cpu_seconds, line.steps) == (42.0, 100)
