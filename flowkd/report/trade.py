"""What likelihood costs: parameters and throughput of flows beside it, with their Pareto fronts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes

from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.pareto import pareto_front
from flowkd.report.plots import MARKERS, chosen
from flowkd.report.style import MUTED, SERIES, svg_plot

LOG_RANGE = 30.0  # of costs: where they differ by more, their axis is logarithmic


class Trade(NamedTuple):
    """Likelihood against a cost: the cost, and the plot."""

    name: str
    svg: Markup


class _Cost(NamedTuple):
    name: str
    better: str
    of: Callable[[FlowFigures], float]
    sign: int  # of what is lower for the better


COSTS = (
    _Cost("parameters", "smaller", lambda flow: flow.parameters, 1),
    _Cost("log_prob/s", "faster", lambda flow: flow.log_prob_per_second, -1),
    _Cost("samples/s", "faster", lambda flow: flow.samples_per_second, -1),
)


def trades(figures: Mapping[str, FlowFigures]) -> list[Trade]:
    """Returns a plot for each cost of flows; none where there are not two to compare."""
    return [trade for number, cost in enumerate(COSTS) for trade in _trade(figures, cost, number)]


def _trade(figures: Mapping[str, FlowFigures], cost: _Cost, number: int) -> list[Trade]:
    points = {
        label: (cost.of(flow), flow.bits_per_dim)
        for label, flow in figures.items()
        if math.isfinite(flow.bits_per_dim) and 0 < cost.of(flow) < math.inf
    }
    if len(points) < 2:
        return []
    front = pareto_front(
        points, cost=lambda label: cost.sign * points[label][0], loss=lambda label: points[label][1]
    )
    kept = [label for label in points if label in front]  # in the page's order
    beaten = [label for label in points if label not in front]
    said = f"no other flow is both likelier and {cost.better} than {_listed(kept)}"
    if beaten:
        said += f", but than {_listed(beaten)}"
    places = {label: place for place, label in enumerate(figures)}
    told = ", ".join(f"{label} {x:,.0f} and {bits:.3f}" for label, (x, bits) in points.items())
    svg = svg_plot(
        lambda axes: _draw(axes, points, front, places, cost.name),
        name=f"trade-{number}",
        description=f"{cost.name} and bits per dimension: {told}; {said}",
        width=240,
        height=190,
    )
    return [Trade(cost.name, Markup(svg))]


def _draw(
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    front: list[str],
    places: Mapping[str, int],
    name: str,
) -> None:
    values = [x for x, _ in points.values()]
    if max(values) > LOG_RANGE * min(values):
        axes.set_xscale("log")
    axes.step(
        [points[label][0] for label in front],
        [points[label][1] for label in front],
        where="post", color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1,
    )  # fmt: skip
    for label, (x, bits) in points.items():
        color = chosen(SERIES, places[label])
        axes.plot(
            x, bits, label=label, linestyle="none", marker=chosen(MARKERS, places[label]),
            markersize=6.5, color=color, markerfacecolor=color if label in front else "none",
            zorder=3,
        )  # fmt: skip
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=9.5,
        handletextpad=0.1, columnspacing=0.6, borderpad=0.2,
    )  # fmt: skip
    axes.margins(0.15)
    axes.locator_params(axis="y", nbins=4)
    if axes.get_xscale() == "linear":
        axes.locator_params(axis="x", nbins=3)
        axes.xaxis.set_major_formatter(lambda value, _: _short(value))
    else:
        axes.xaxis.set_major_formatter(lambda value, _: _short(value))
        axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel(name)


def _short(value: float) -> str:
    """Returns a count in few letters.

    Examples:
        >>> _short(950), _short(12_500), _short(3e6)
        ('950', '12.5k', '3M')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _listed(labels: list[str]) -> str:
    return " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels)
