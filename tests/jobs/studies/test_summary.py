"""What a study makes of its figures: gaps, means and spreads."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from jobs.studies.folds import pool_folds
from jobs.studies.gaps import with_gaps
from jobs.studies.measure import RunFigures, ThroughputRatio
from jobs.studies.outcomes import RunOutcome
from jobs.studies.results import RunRow
from jobs.studies.summary import run_rows, summary_rows
from tests.support.figures import grouped
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


PICTURES = np.random.default_rng(0).normal(0, 0.5, 40)


def measured(parameters: int, test: float, seed: int = 0) -> RunFigures:
    """Figures on 40 pictures that differ by much, of which every flow sees the same."""
    own = np.random.default_rng(seed).normal(0, 0.01, 40)
    bits = test + PICTURES - PICTURES.mean() + own - own.mean()
    return RunFigures("", parameters, grouped(bits + 0.1), grouped(bits), -5.0)


def figures() -> dict[str, RunFigures]:
    return {
        name: measured(1000 if "teacher" in name else 250, test, number)
        for number, (name, test) in enumerate(TESTS.items())
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


def test_errors_are_of_groups_and_differences_are_paired() -> None:
    summary = {row.arm: row for row in summary_rows(study(), lines())}
    best, teacher = summary["best"], summary["teacher"]
    assert best.test_error == pytest.approx(PICTURES.std(ddof=1) / math.sqrt(40), rel=0.05)
    for row, expected in ((best, best.test - 3.1), (teacher, 2.1 - 3.1)):
        assert row.minus_plain is not None
        assert row.minus_plain.estimate == pytest.approx(expected)
        assert row.minus_plain.error < best.test_error / 10
    assert best.minus_best is None
    assert summary["longer"].minus_best is not None
    assert summary["longer"].minus_best.estimate == pytest.approx(2.575 - best.test)
    assert best.gap is not None
    assert best.gap.estimate == pytest.approx(best.gap_closed)
    assert best.gap.low < best.gap.estimate < best.gap.high
    assert summary["plain"].gap is None
    assert summary["plain"].minus_plain is None


def test_folds_are_pooled_row_by_row() -> None:
    folds = [lines(), lines()]
    pooled = with_gaps(study(), pool_folds(folds, "s"))
    one = {(row.arm, row.teacher_seed, row.student_seed): row for row in folds[0]}
    assert len(pooled) == len(one)
    for row in pooled:
        alone = one[row.arm, row.teacher_seed, row.student_seed]
        if alone.failed:
            assert row.failed == "fold 0: step 9: nll is nan; fold 1: step 9: nll is nan"
            continue
        assert row.test == pytest.approx(alone.test)
        assert (row.gap_closed is None) == (alone.gap_closed is None)
        assert row.gap_closed == pytest.approx(alone.gap_closed)
        assert row.test_bits is not None
        assert row.test_bits.groups == 80
        # Twice as many groups: an error smaller by the root of two.
        assert row.test_standard_error == pytest.approx(
            alone.test_standard_error / math.sqrt(2), rel=0.1
        )
    assert len(pool_folds([folds[0], folds[1][:-1]], "s")) == len(one) - 1  # one has not ended


def test_a_row_in_stages_costs_both_stages() -> None:
    both = {"study-s-stages-t0-intermediate-s5": 30.0, "study-s-stages-t0-s5": 12.0}
    outcomes = {name: ends(seconds=seconds) for name, seconds in both.items()}
    found = {"study-s-stages-t0-s5": measured(250, 3.0)}
    (line,) = run_rows(study(), CHOSEN, outcomes, found, {})
    assert (line.cpu_seconds, line.steps) == (42.0, 100)
