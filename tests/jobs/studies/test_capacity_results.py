"""A capacity study: each shape plain and distilled, and the fronts of size and speed."""

from __future__ import annotations

import pytest

from flowkd.config import parse_config
from flowkd.errors import ConfigError
from jobs.studies.capacity_config import CapacityConfig
from jobs.studies.capacity_results import capacity_results
from jobs.studies.plan import plan
from jobs.studies.results import Results, SummaryRow
from tests.support.small_studies import CHOSEN, STUDY

CAPACITY = {
    **{key: value for key, value in STUDY.items() if key not in ("arms", "best")},
    "students": {"wide": {"flow": {"kind": "glow", "levels": 1, "depth": 2, "width": 7}}},
    "objective": {"warm_start": "fold"},
    "about": "folded",
}


def test_a_capacity_study_is_a_study_with_each_shape_plain_and_distilled() -> None:
    config = parse_config(CapacityConfig, CAPACITY, source="capacity.yaml")
    arms = config.study().arms
    assert list(arms) == ["plain", "distilled", "wide-plain", "wide-distilled"]
    planned = {run.config.name: run.config for run in plan(config.study(), CHOSEN)}
    for name in ("study-s-wide-plain-s5", "study-s-wide-distilled-t0-s5"):
        assert planned[name].flow == config.students["wide"].flow
    taken = {**CAPACITY, "students": {"reference": CAPACITY["students"]["wide"]}}
    with pytest.raises(ConfigError, match="expected another name than 'reference'"):
        parse_config(CapacityConfig, taken, source="capacity.yaml")


def test_a_capacity_study_marks_the_students_that_no_other_beats() -> None:
    config = parse_config(CapacityConfig, CAPACITY, source="capacity.yaml")
    figures = {
        "plain": (3.0, 100, 2.0),
        "distilled": (2.5, 100, 2.0),
        "wide-plain": (2.5, 200, 3.0),
    }
    rows = [
        SummaryRow(
            study="s", arm=arm, about="", runs=1, failed=0, missing=0, test=test,
            parameters=parameters, parameters_share=parameters / 1000, throughput_ratio=ratio,
            sampling_ratio=ratio,
        )
        for arm, (test, parameters, ratio) in figures.items()
    ]  # fmt: skip
    machine = {"torch": "2.0", "cpu": "A CPU", "date": "2026-01-01"}
    results = Results.model_validate(
        {"runs": [], "summary": rows, "studies": [], "machine": machine}
    )
    points = {(p.shape, p.distilled): p for p in capacity_results(config, results).points}
    assert {key for key, point in points.items() if point.small} == {("reference", True)}
    assert {key for key, point in points.items() if point.fast} == {("wide", False)}
