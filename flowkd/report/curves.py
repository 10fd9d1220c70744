"""Curves against the step: no spike flattens the others, and none hides another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from flowkd.report.plots import MARKERS, chosen
from flowkd.report.style import SERIES, svg_plot

Curve = Sequence[tuple[float, float]]

FEW = 30  # a curve of more points has no markers
MOST = 150  # a curve of more points is drawn as the middle of so many lots, and their range
ENOUGH = 8  # points of a curve in which a spike can be told from what is usual
TAIL = 0.1  # share of a curve's values on either side of what is usual
FLAT, FLAT_LOG = 5.0, 8.0  # times the usual range: an axis that went further would flatten it
ROUNDING = 1e-9
LOG_RANGE = 30.0  # where values differ by more, their axis is logarithmic
MARKS = 60  # of values beyond an end of the axis, at most
WIDTHS = (2.6, 1.8, 1.1)  # of lines that may lie on each other, from below to above


class Limits(NamedTuple):
    """Where an axis ends, and what it is: values beyond an end are marked there."""

    low: float
    high: float
    log: bool


def curves_plot(curves: Mapping[str, Curve], *, name: str, description: str) -> str:
    """Returns curves against the step; their places in the mapping give them their colours.

    Args:
        curves: (step, value) by label; an empty one leaves its place free.
        name: Tells this plot's identifiers in the page from those of others.
        description: For those who don't see it.
    """
    return svg_plot(lambda axes: _draw(axes, curves), name=name, description=description)


def limits_of(curves: Sequence[np.ndarray]) -> Limits | None:
    """Returns the limits of an axis for the values of some curves; None if none is finite.

    What is usual in a curve lies between its TAIL quantiles, and as far again to either side. Only
    where an axis of all values would be FLAT times as long does it end there; FLAT_LOG times, of a
    logarithmic one.
    """
    finite = [values[np.isfinite(values)] for values in curves]
    finite = [values for values in finite if len(values)]
    if not finite:
        return None
    plain = _limits(finite, FLAT)
    if min(values.min() for values in finite) <= 0 or plain[1] <= LOG_RANGE * max(plain[0], 0):
        return Limits(*plain, log=False)
    low, high = np.exp(_limits([np.log(values) for values in finite], FLAT_LOG))
    return Limits(float(low) * (1 - ROUNDING), float(high) * (1 + ROUNDING), log=True)


def _limits(curves: Sequence[np.ndarray], flat: float) -> tuple[float, float]:
    lowest, highest = min(map(np.min, curves)), max(map(np.max, curves))
    ends = [_usual(values) for values in curves]
    low = max(lowest, min(end[0] for end in ends))
    high = min(highest, max(end[1] for end in ends))
    usual = high - low
    if highest - low <= flat * usual:
        high = highest
    if high - lowest <= flat * usual:
        low = lowest
    return float(low), float(high)


def _usual(values: np.ndarray) -> tuple[float, float]:
    if len(values) < ENOUGH:
        return float(values.min()), float(values.max())
    low = float(np.quantile(values, TAIL, method="higher"))
    high = float(np.quantile(values, 1 - TAIL, method="lower"))
    return low - (high - low), high + (high - low)


def _draw(axes: Axes, curves: Mapping[str, Curve]) -> None:
    shown = [
        (place, label, np.array(curve, float))
        for place, (label, curve) in enumerate(curves.items())
        if curve
    ]
    limits = limits_of([curve[:, 1] for _, _, curve in shown])
    for place, label, curve in shown:
        width = 1.3 if len(shown) == 1 else chosen(WIDTHS, place)
        _draw_curve(axes, curve, label, place, width)
    if len(shown) > 1:
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.02, 1.0), ncols=3, fontsize=10,
            handlelength=1.2, columnspacing=1.0, borderpad=0.2,
        )  # fmt: skip
    beyond = ""
    if limits is not None:
        _set_limits(axes, limits)
        beyond = _mark_beyond(axes, [(place, curve) for place, _, curve in shown], limits)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.set_xlim(left=0)
    axes.set_xlabel(f"step; {beyond}" if beyond else "step")


def _draw_curve(axes: Axes, curve: np.ndarray, label: str, place: int, width: float) -> None:
    color = chosen(SERIES, place)
    if len(curve) > MOST:
        lots = np.array_split(curve, MOST)
        steps = [lot[:, 0].mean() for lot in lots]
        low, middle, high = (
            [np.quantile(lot[:, 1], share) for lot in lots] for share in (0.1, 0.5, 0.9)
        )
        axes.fill_between(steps, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(steps, middle, label=label, color=color, linewidth=width)
        return
    axes.plot(
        *curve.T,
        label=label,
        color=color,
        marker=chosen(MARKERS, place) if len(curve) <= FEW else None,
        markersize=3.5,
        linewidth=width,
    )


def _set_limits(axes: Axes, limits: Limits) -> None:
    low, high, log = limits
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
        room = (high / low) ** 0.05
        axes.set_ylim(low / room, high * room)
        return
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    axes.set_ylim(low - room, high + room)
    axes.locator_params(axis="y", nbins=5)


def _mark_beyond(axes: Axes, curves: Sequence[tuple[int, np.ndarray]], limits: Limits) -> str:
    """Marks values beyond an end of the axis there; returns what is said of the furthest."""
    bottom, top = axes.get_ylim()
    above = _beyond(axes, curves, top, lambda values: values > limits.high, "^")
    below = _beyond(axes, curves, bottom, lambda values: values < limits.low, "v")
    told = []
    if above:
        told.append(f"\N{BLACK UP-POINTING TRIANGLE} up to {max(above):.3g}")
    if below:
        told.append(f"\N{BLACK DOWN-POINTING TRIANGLE} down to {min(below):.3g}")
    return ", ".join(told)


def _beyond(
    axes: Axes,
    curves: Sequence[tuple[int, np.ndarray]],
    edge: float,
    is_beyond: Callable[[np.ndarray], np.ndarray],
    marker: str,
) -> list[float]:
    """Marks the steps of values beyond an edge on it; returns these values."""
    found: list[float] = []
    for place, curve in curves:
        beyond = curve[is_beyond(curve[:, 1])]
        if len(beyond):
            spots = _apart(beyond[:, 0], curve[-1, 0])
            axes.plot(
                spots, np.full(len(spots), edge), linestyle="none", marker=marker, markersize=4.5,
                color=chosen(SERIES, place), clip_on=False, zorder=5,
            )  # fmt: skip
            found += beyond[:, 1].tolist()
    return found


def _apart(steps: np.ndarray, last: float) -> np.ndarray:
    """Returns those of some steps whose marks don't lie on each other."""
    _, first = np.unique(np.floor(steps / max(last, 1) * MARKS), return_index=True)
    return np.asarray(steps[first])
