"""Curves are seen whatever spikes, jumps or falls: what an axis leaves out is marked on it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from flowkd.report.curves import MOST, curves_plot, limits_of
from flowkd.report.page import TERMS, render
from tests.flowkd.report.test_page import ROLES, records, report

STEPS = np.arange(1, 61)
USUAL = 3 + np.exp(-STEPS / 8)


def spiked(values: np.ndarray, *places: int, by: float = 1000.0) -> np.ndarray:
    found = values.copy()
    found[list(places)] = by
    return found


def plot(**curves: np.ndarray) -> str:
    each = {label: list(enumerate(map(float, values), 1)) for label, values in curves.items()}
    return curves_plot(each, name="a", description="")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("places", [(30,), (0,), (59,), (5, 20, 40)])
def test_spikes_do_not_flatten_an_axis(sign: int, places: tuple[int, ...]) -> None:
    limits = limits_of([spiked(sign * USUAL, *places, by=sign * 1000.0), sign * USUAL + 0.1])
    assert limits is not None
    assert limits.high - limits.low < 3 * np.ptp(USUAL)
    others = np.delete(sign * USUAL, places)[10:]
    assert limits.low <= others.min() < others.max() <= limits.high
    assert not limits.log


def test_what_lies_beyond_is_marked_with_how_far_it_goes() -> None:
    assert "up to" not in plot(plain=USUAL)
    assert "▲ up to 1e+03" in plot(plain=USUAL, distilled=spiked(USUAL, 30, 31))
    assert "▼ down to -7" in plot(plain=spiked(USUAL, 30, by=-7.0))


@pytest.mark.parametrize(
    "values",
    [
        USUAL,
        3 + 1 / STEPS,
        np.linspace(5, 3, 60),
        np.array([213.0, 405.0]),  # few: none of them is a spike
        np.array([3.0, 3.1, 30.0, 3.0]),
        50 / STEPS**2.0,  # a fall through powers of ten
    ],
)
def test_an_ordinary_curve_is_shown_whole(values: np.ndarray) -> None:
    limits = limits_of([values])
    assert limits is not None
    assert limits.low <= values.min()
    assert values.max() <= limits.high
    assert "up to" not in plot(plain=values)
    assert "down to" not in plot(plain=values)


def test_a_flow_of_another_size_does_not_leave_the_axis() -> None:
    limits = limits_of([USUAL, USUAL + 5])
    assert limits is not None
    assert limits.low < 3.01
    assert limits.high > 8.8
    far = limits_of([USUAL, 1000 * USUAL])
    assert far is not None
    assert (far.log, far.low < 3.01, far.high > 3800) == (True, True, True)


def test_what_is_not_finite_breaks_nothing() -> None:
    odd = np.array([np.nan, 3.0, np.inf, 2.0] * 5)
    assert "up to inf" in plot(plain=odd)
    assert limits_of([np.array([np.nan])]) is None
    assert plot(plain=np.array([np.nan, np.inf])).count("<svg") == 1


def test_equal_curves_are_all_seen() -> None:
    """Lines that lie on each other are of different widths, the wide ones below."""
    found = plot(teacher=USUAL, plain=USUAL, distilled=USUAL)
    lines = re.findall(r"stroke: var\(--series-(\d)\); stroke-width: ([\d.]+); stroke-linec", found)
    widths = [float(width) for _, width in lines if float(width) < 3]
    assert len(set(widths)) >= 3
    drawn = list(dict.fromkeys(widths))
    assert drawn == sorted(drawn, reverse=True)


def test_many_points_make_no_large_page() -> None:
    noisy = 3 + np.random.default_rng(0).normal(size=20_000)
    assert len(plot(plain=noisy)) < 1.5 * len(plot(plain=noisy[:MOST])) + 20_000


def test_each_term_has_a_curve_of_every_flow_that_has_it() -> None:
    curves = {role: records(5) for role in ROLES}
    curves["plain"] = [{"step": 1, "nll": 3.0}, {"step": 2, "nll": 2.0}]
    page = render(report(curves=curves))
    plots = dict(re.findall(r"<b>(\w+)</b>.*?(<svg.*?</svg>)", page, re.DOTALL))
    assert set(TERMS) <= set(plots)
    for term in TERMS:
        shown = re.findall(r">(teacher|plain|distilled)</text>", plots[term])
        assert shown == ([*ROLES] if term == "nll" else ["teacher", "distilled"])
