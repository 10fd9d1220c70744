"""Where a distillation did not help, the page says what to do next, by the figures."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from flowkd.evaluation.figures import FlowFigures
from flowkd.report.advice import SEARCH, next_steps
from flowkd.report.page import render
from flowkd.training.config import TrainingConfig
from tests.flowkd.report.test_page import figures, report
from tests.support.figures import figures_on
from tests.support.figures import flows as bits_of_flows

DONE = [3.5, 3.3, 3.25, 3.245, 3.244, 3.243]
FALLING = [3.9, 3.7, 3.6, 3.5, 3.4, 3.3]
RISING = [3.5, 3.3, 3.4, 3.5, 3.7, 3.9]


def log(values: list[float]) -> list[dict[str, Any]]:
    return [
        {"step": 100 * number, "validation_bits_per_dim": value}
        for number, value in enumerate(values, 1)
    ]


def run(**objective: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "name": "d",
            "dataset": "x",
            "objective": {"kind": "distillation", "teacher": "runs/t", **objective},
        }
    )


def shares(share: float, **bits: float) -> dict[str, FlowFigures]:
    found = figures(**bits)
    size = round(share * found["teacher"].parameters)
    return {
        role: flow if role == "teacher" else replace(flow, parameters=size)
        for role, flow in found.items()
    }


BAD = {"distilled": 3.52}
ALL_DONE = {role: log(DONE) for role in ("teacher", "plain", "distilled")}
RANDOM = {"warm_start": "none", "weights": {"nll": 1, "latent": 0.1}}
CASES = {
    "teacher behind, falling": (
        figures(plain=3.2),
        {"teacher": log(FALLING)},
        None,
        ["The teacher needs more steps", "1,200 steps"],
    ),
    "teacher behind, done": (
        figures(plain=3.2),
        ALL_DONE,
        None,
        ["With 24% of its parameters the plain student is as good"],
    ),
    "teacher by heart": (
        figures(plain=3.2),
        {"teacher": log(RISING)},
        None,
        ["The teacher learnt its rows by heart", "after step 200"],
    ),
    "small gap": (
        figures(plain=3.304, distilled=3.304),
        ALL_DONE,
        None,
        ["The gap of 0.004 bits per dimension is small", "share: 0.08"],
    ),
    "student falling": (
        figures(**BAD),
        {"distilled": log(FALLING)},
        None,
        ["The distilled student needs more steps"],
    ),
    "student by heart": (
        figures(**BAD),
        {"distilled": log(RISING)},
        None,
        ["The distilled student learnt its rows by heart"],
    ),
    "too small": (
        shares(0.05, **BAD),
        ALL_DONE,
        None,
        ["The student has 5% of the teacher's parameters, which may not be enough"],
    ),
    "too large": (
        shares(0.8, **BAD),
        ALL_DONE,
        None,
        ["The student has 80% of the teacher's parameters: data alone"],
    ),
    "at random": (
        figures(**BAD),
        ALL_DONE,
        run(**RANDOM),
        ["The student began at random", "none of the teacher's samples"],
    ),
    "best recipe": (figures(**BAD), ALL_DONE, run(), []),
    "nothing known": (figures(**BAD), None, None, []),
}


@pytest.mark.parametrize("case", CASES)
def test_each_cause_has_its_remedy_and_no_other(case: str) -> None:
    compared, curves, config, expected = CASES[case]
    said = " ".join(next_steps(compared, curves, config))
    for words in expected:
        assert words in said
    every = {each[3][0] for each in CASES.values() if each[3]}
    assert [words for words in every if words in said] == expected[:1]
    assert (SEARCH in said) == ("teacher" not in case)


def test_a_gap_within_its_error_is_told() -> None:
    bits = bits_of_flows(3.0, 3.02, 3.03, groups=8, noise=0.1)
    assert "is within its error" in " ".join(next_steps(figures_on(bits, bits)))


@pytest.mark.parametrize(
    "compared",
    [
        figures(distilled=3.345),  # it closes three quarters of the gap
        figures(distilled=3.2),
        figures(distilled=math.nan),
        {"large": figures()["teacher"], "small": figures()["plain"]},
    ],
)
def test_where_it_helped_or_nothing_is_known_nothing_is_advised(
    compared: dict[str, FlowFigures],
) -> None:
    assert next_steps(compared, {"distilled": log(FALLING)}, run(**RANDOM)) == []


def test_the_page_has_the_advice_with_its_code() -> None:
    page = render(report(advice=["try `objective: {share: 0.25}` <now>"]))
    assert "<h2>What to do next</h2>" in page
    assert "try <code>objective: {share: 0.25}</code> &lt;now&gt;" in page
    assert "What to do next" not in render(report())
