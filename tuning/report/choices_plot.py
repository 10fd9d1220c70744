"""Parallel coordinates of what the trials of a search chose, one parameter below the other.

Not optuna's plot_parallel_coordinate: names and values overlap as soon as there are some ten.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from flowkd.report.style import INK, MUTED, RULE, VARIABLES, svg_plot
from tuning.report.axes import Axis, shortened
from tuning.suggest import Value

# From the best fifth of the trials to the worst; the page defines these variables.
RAMP = ("#050501", "#050502", "#050503", "#050504", "#050505")
COLORS = VARIABLES | {color: f"var(--ramp-{n})" for n, color in enumerate(RAMP, start=1)}
WIDTHS = (1.2, 0.9, 0.8, 0.7, 0.7)
CROWD, LEADERS = 60, 12  # of more trials, only the lines of so many, the best ones, are strong

ABSENT, BEGIN = 0.0, 0.16  # the place of what was not chosen, and where the axes begin
SPREAD = 0.5  # of a category's room: those that chose the same lie beside each other
ROW = 32  # CSS pixels
LETTERS = 34  # of categories beside each other; where there are more, only the ends are named


def fifths(bits: Sequence[float]) -> list[int | None]:
    """Returns the fifth to which each trial belongs, 0 the best; None if its bits are not finite.

    >>> fifths([4.0, 1.0, math.inf, 2.0, 3.0, 5.0])
    [3, 0, None, 1, 2, 4]
    """
    order = _order(bits)
    found: list[int | None] = [None] * len(bits)
    for rank, place in enumerate(order):
        found[place] = rank * len(RAMP) // len(order)
    return found


def choices_plot(axes: Sequence[Axis], bits: Sequence[float]) -> str:
    """Returns a plot with a line for each trial, the best on top, through its value on each axis.

    Args:
        axes: The parameters, each with the values of all trials.
        bits: Bits per dimension of each trial; those not finite are left out.
    """
    told = "; ".join(f"{axis.name} {_range(axis)}, {len(axis.known)} trials" for axis in axes)
    return svg_plot(
        lambda drawn: _draw(drawn, axes, bits),
        name="choices",
        description=f"What {len(_order(bits))} trials chose: {told}",
        height=30 + ROW * len(axes),
        colors=COLORS,
    )


def place_of(axis: Axis, value: Value | None, offset: float = 0.0) -> float:
    """Returns where a value lies on an axis of length 1: from BEGIN on, or at ABSENT.

    Args:
        axis: Axis of the parameter.
        value: What was chosen, or None.
        offset: Place within a category's room, from -1 to 1.
    """
    if value is None:
        return ABSENT + 0.04 * offset
    if axis.bounds is None:
        count = len(axis.categories)
        at = (axis.categories.index(str(value)) + 0.5 + 0.5 * SPREAD * offset) / count
    else:
        low, high = axis.bounds
        number = float(value)
        if axis.log:
            low, high, number = math.log(low), math.log(high), math.log(number)
        at = (number - low) / (high - low) if high > low else 0.5
    return BEGIN + (1 - BEGIN) * at


def _draw(drawn: Axes, axes: Sequence[Axis], bits: Sequence[float]) -> None:
    order, groups = _order(bits), fifths(bits)
    rows = range(len(axes))
    for row, axis in zip(rows, axes, strict=True):
        drawn.hlines(row, BEGIN, 1, color=RULE, linewidth=1)
        _name_values(drawn, row, axis)
    drawn.vlines(ABSENT, -0.3, len(axes) - 0.7, color=RULE, linewidth=1, linestyle=(0, (1, 3)))
    for rank, place in reversed(list(enumerate(order))):
        offset = 2 * rank / max(1, len(order) - 1) - 1
        line = [place_of(axis, axis.values[place], offset) for axis in axes]
        group, weak = groups[place] or 0, len(order) > CROWD and rank >= LEADERS
        drawn.plot(
            line,
            rows,
            color=RAMP[group],
            linewidth=0.5 if weak else WIDTHS[group],
            alpha=0.4 if weak else 1.0,
            marker="o",
            markersize=1.2 if weak else 2.2,
            gid=f"trial-{place}",
        )
    drawn.grid(False)
    drawn.set_yticks(rows, [shortened(axis.name) for axis in axes])
    drawn.tick_params(axis="y", labelcolor=INK, labelsize=9)
    drawn.set_xticks([ABSENT], ["absent"])
    drawn.tick_params(axis="x", labeltop=True, labelbottom=False, bottom=False, labelsize=8.5)
    drawn.spines["bottom"].set_visible(False)
    drawn.set_ylim(len(axes) - 0.4, -0.5)
    drawn.set_xlim(-0.06, 1.02)


def _name_values(drawn: Axes, row: int, axis: Axis) -> None:
    """Writes values below an axis."""
    labels: dict[str, str | float]
    if axis.bounds is not None:
        labels = dict(zip(map(_number, axis.bounds), axis.bounds, strict=True))
        ends = ["left", "right"][: len(labels)]
    else:
        labels = dict(zip(axis.categories, axis.categories, strict=True))
        if sum(map(len, labels)) + 2 * len(labels) > LETTERS:
            labels = {name: labels[name] for name in (axis.categories[0], axis.categories[-1])}
        ends = ["center"] * len(labels)
    for (label, value), side in zip(labels.items(), ends, strict=True):
        drawn.annotate(
            label,
            (place_of(axis, value), row),
            (0, -4),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=8.5,
            color=MUTED,
            zorder=5,
        )


def _order(bits: Sequence[float]) -> list[int]:
    judged = [place for place, value in enumerate(bits) if math.isfinite(value)]
    return sorted(judged, key=lambda place: bits[place])


def _number(value: float) -> str:
    return f"{value:.3g}"


def _range(axis: Axis) -> str:
    if axis.bounds is None:
        return f"of {', '.join(axis.categories)}"
    return f"from {_number(axis.bounds[0])} to {_number(axis.bounds[1])}"
