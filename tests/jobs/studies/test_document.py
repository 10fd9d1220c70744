"""A study's document says what its results hold, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.studies.capacity_document import capacity_document, capacity_plot
from jobs.studies.capacity_results import CapacityPoint, CapacityResults
from jobs.studies.config import Targets
from jobs.studies.document import document, within_spread
from jobs.studies.plots import gap_plot, study_curves_plot
from jobs.studies.results import Results

MACHINE = {"torch": "2.0", "cpu": "A CPU", "date": "2026-01-01"}
FACTS: dict[str, Any] = {
    "name": "s",
    "title": "Some data",
    "dataset": "d",
    "dimensions": 10,
    "rows": {"train": 1000, "val": 10, "test": 20},
    "teacher": {"flow": "glow, K 8", "steps": 200, "batch_size": 64},
    "student": {"flow": "glow, K 4", "steps": 100, "batch_size": 64},
    "teacher_seeds": 2,
    "student_seeds": 3,
    "learning_rates": {"0.001": 3.2, "0.002": 3.1, "0.004": 3.3},
    "learning_rate": 0.002,
    "best": "fold",
    "targets": Targets(gap_closed=0.75),
    "curves": {"plain": [(10, 3.5), (20, 3.2)]},
}
SUMMARY: dict[str, dict[str, Any]] = {
    "teacher": {"runs": 2, "test": 3.0, "test_spread": 0.01, "parameters": 4000, "steps": 200},
    "plain": {"runs": 3, "test": 3.4, "test_spread": 0.02, "gap_closed": 0.0, "plain": True},
    "fold": {
        "runs": 6, "test": 3.08, "test_spread": 0.02, "gap_closed": 0.8, "gap_spread": 0.06,
        "test_error": 0.15, "gap": {"estimate": 0.8, "error": 0.03, "low": 0.74, "high": 0.86},
        "minus_plain": {"estimate": -0.32, "error": 0.01, "low": -0.34, "high": -0.3},
        "gap_runs": 6, "reached": 6, "parameters_share": 0.24, "throughput_ratio": 4.21,
        "sampling_ratio": 4.0,
    },
    "latent": {
        "runs": 3, "test": 3.39, "test_spread": 0.02, "gap_closed": 0.025, "gap_spread": 0.03,
        "gap_runs": 3,
    },
}  # fmt: skip


def results(facts: dict[str, Any] | None = None, **changes: dict[str, Any] | None) -> Results:
    merged = {
        arm: {**SUMMARY.get(arm, {}), **(changes.get(arm) or {})} for arm in SUMMARY | changes
    }
    rows = [
        {"study": "s", "arm": arm, "about": f"about {arm}", "failed": 0, "missing": 0, "steps": 100}
        | {"validation": (row.get("test") or 9) + 0.05}
        | row
        for arm, row in merged.items()
    ]
    runs = [
        {"study": "s", "arm": arm, "teacher_seed": 0, "student_seed": 1, "steps": 100}
        | {"learning_rate": 0.002, "gap_closed": row.get("gap_closed"), "failed": row.get("why")}
        for arm, row in merged.items()
    ]
    rows = [{key: value for key, value in row.items() if key != "why"} for row in rows]
    return Results.model_validate(
        {"runs": runs, "summary": rows, "studies": [{**FACTS, **(facts or {})}], "machine": MACHINE}
    )


def text(facts: dict[str, Any] | None = None, **changes: dict[str, Any] | None) -> str:
    return document(results(facts, **changes), "make study", {"s": ["study-s-gap.png"]})


def test_an_arms_line_holds_its_figures() -> None:
    (line,) = [line for line in text().splitlines() if line.startswith("| **fold** ")]
    assert line == (
        "| **fold** | about fold | 3.080 ± 0.150 | -0.320 ± 0.010 | 80% [74%, 86%] (6) | 0.020 "
        "| 100 | 24% | 4.2x | 4.0x |  |"
    )


def test_what_lies_within_the_spread_is_said_to() -> None:
    (line,) = [line for line in text().splitlines() if line.startswith("| latent ")]
    assert "2% (3), within the spread" in line
    unsure = {"estimate": -0.01, "error": 0.1, "low": -0.2, "high": 0.2}
    (line,) = [
        line
        for line in text(latent={"minus_plain": unsure, "test": 3.3}).splitlines()
        if line.startswith("| latent ")
    ]
    assert "2% (3), within the error |" in line
    one = text(latent={"runs": 1, "test_spread": None})
    (line,) = [line for line in one.splitlines() if line.startswith("| latent ")]
    assert "spread unknown" in line
    assert text().count("within the spread |") == 1


@pytest.mark.parametrize(
    ("test", "spread", "expected"), [(3.37, 0.02, False), (3.38, 0.02, True), (3.3, None, None)]
)
def test_the_spread_is_that_of_both_arms(
    test: float, spread: float | None, expected: bool | None
) -> None:
    arms = results(latent={"test": test, "test_spread": spread}).of("s")
    assert within_spread(arms["latent"], arms["plain"]) is expected


@pytest.mark.parametrize(
    ("fold", "expected"),
    [
        ({}, "reached in 6 of 6 runs, at 80%"),
        ({"reached": 4}, "reached on average, but only in 4 of 6 runs, at 80%"),
        ({"gap_closed": 0.6, "reached": 0}, "**missed**, at 60%"),
        ({"gap_closed": 0.6, "reached": 1}, "**missed** (reached in 1 of 6 runs), at 60%"),
        ({}, "at 80% on average; the 95% interval 74% to 86% leaves it open for other rows."),
        ({"gap": {"estimate": 0.8, "error": 0.01, "low": 0.78, "high": 0.82}}, "age, 95% interv"),
        ({"parameters_share": 0.26}, "at most 25% of the teacher's parameters: **missed**"),
        ({"sampling_ratio": 3.1}, "3.2 times the teacher's throughput: **missed**"),
        ({"gap_closed": None}, "there is no gap to close"),
        ({"test": None}, "no comparison yet, for want of `fold`"),
    ],
)
def test_targets_are_reached_or_missed_in_words(fold: dict[str, Any], expected: str) -> None:
    assert expected in text(fold=fold)


def test_a_teacher_that_is_no_better_and_another_order_are_told_first() -> None:
    def headline(**changes: dict[str, Any] | None) -> str:
        (line,) = [line for line in text(None, **changes).splitlines() if "**Some data**" in line]
        return line

    assert headline().startswith("- **Some data**: Teacher 3.000, plain student 3.400")
    sure = {"estimate": 0.1, "error": 0.01, "low": 0.08, "high": 0.12}
    worse = headline(teacher={"validation": 3.55, "validation_minus_plain": sure})
    first = "- **Some data**: The teacher is no better than the plain student on validation: 3.550"
    assert worse.startswith(first)
    assert "a difference of 0.100 ± 0.010, by more than its error." in worse
    assert "the best first: fold, plain, teacher on validation; teacher, fold, plain on te" in worse
    chance = {"estimate": -0.1, "error": 0.2, "low": -0.5, "high": 0.3}
    found = headline(teacher={"minus_plain": chance})
    assert "The teacher's lead over the plain student on test is within its error: 0.100" in found


def test_few_groups_and_folds_are_told() -> None:
    assert "Few independent groups" not in text({"groups": {"train": 9, "val": 30, "test": 30}})
    few = text({"groups": {"train": 9, "val": 2, "test": 30}})
    assert "1,000 rows in 9 groups train; 10 rows in 2 groups val; 20 rows in 30 groups test" in few
    assert "**Few independent groups of rows: 2 in val.**" in few
    folds = {
        "folds": 4, "rows": {"in all": 80000}, "groups": {"in all": 24}, "learning_rate": None,
        "rate_of_fold": [0.001, 0.002, None],
    }  # fmt: skip
    found = text(folds)
    assert "80,000 rows in 24 groups in all, cross-validated over 4 folds" in found
    assert "Few independent groups of rows: 24 in all.**" in found
    assert "chosen by the folds: 0.001, 0.002, none yet." in found


def test_a_learning_rate_at_the_edge_is_named() -> None:
    assert "edge of the list" not in text()
    assert "edge of the list" in text({"learning_rate": 0.004})
    assert "There was no choice" in text({"learning_rates": {"0.002": 3.1}})
    assert "none is chosen yet" in text({"learning_rate": None})


def test_what_is_missing_or_failed_is_named() -> None:
    assert "Not there" not in text()
    found = text(
        samples={"runs": 0, "missing": 6},
        latent={"runs": 2, "failed": 1, "why": "step 3: nll is nan"},
    )
    assert "- `samples`: 6 of 6 runs are missing." in found
    assert "- `latent`, teacher seed 0, student seed 1: failed: step 3: nll is nan" in found


def test_what_more_compute_gives_the_plain_student_is_said() -> None:
    longer = {"runs": 3, "test": 3.05, "steps": 300, "plain": True}
    found = text(**{"plain-3x": longer})
    assert "`plain-3x` (3.0 times the steps): 3.050 bits/dim, better than `fold` at 3.080" in found
    assert "On validation, too, `fold` is the best of the arms of equal steps" in found
    assert "On validation `latent` is the best" in text(latent={"validation": 3.0})


def test_plots_are_png_and_equal_for_equal_results() -> None:
    found = results()
    for plot in (gap_plot, study_curves_plot):
        assert plot(found, found.studies[0]).startswith(b"\x89PNG")
        assert plot(found, found.studies[0]) == plot(results(), found.studies[0])


def test_the_capacity_document_lists_its_fronts() -> None:
    shared = {"flow": "glow", "runs": 1, "test_spread": None, "sampling_ratio": 2.0}
    small = CapacityPoint(
        shape="w16", distilled=True, test=3.2, gap_closed=0.5, parameters=100, small=True,
        parameters_share=0.1, throughput_ratio=9.0, **shared,
    )  # fmt: skip
    other = CapacityPoint(
        shape="w64", distilled=False, test=3.3, gap_closed=None, parameters=400,
        parameters_share=0.4, throughput_ratio=2.0, **shared,
    )  # fmt: skip
    whole = CapacityResults(points=[small, other], study=results())
    found = capacity_document(whole, "folded", "make capacity", "capacity.png")
    assert "- w16, distilled: 3.200 bits/dim, 10% of the parameters, 9.0 times" in found
    assert "- w64" not in found
    assert "| w64 | glow | plain | 3.300 |  |  |  | 400 (40%) | 2.0x | 2.0x |  |" in found
    assert "Each student is one run" in found
    assert capacity_plot(whole).startswith(b"\x89PNG")
