"""Histograms of a table's columns: data beside what flows draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from flowkd.report.drawn import TableRows
from flowkd.report.style import RULE, SERIES, svg_plot

MARGINALS = 18  # of more columns, those are shown that the last flow meets worst
FEWEST_BINS, MOST_BINS = 16, 48
TAILS = 0.005  # share of the data on either side of a frame
NOTED = 0.02  # share of a flow's samples beyond a frame, above the data's, that is told
WIDTH, HEIGHT = 220, 120  # of a marginal, in CSS pixels


class Marginal(NamedTuple):
    """A column's histograms: its name, a note on samples beyond the frame, and the plot."""

    name: str
    note: str
    svg: Markup


def marginals(rows: TableRows) -> list[Marginal]:
    """Returns the histograms of data and flows of each column, at most MARGINALS of them."""
    return [_marginal(rows, column) for column in shown_columns(rows)]


def shown_columns(rows: TableRows) -> list[int]:
    """Returns the columns whose marginals are shown, in their order: the worst if there are many.

    The worst are those whose distribution the last flow's samples are furthest from, by the largest
    distance between distribution functions (Kolmogorov and Smirnov).
    """
    count = rows.data.shape[1]
    if count <= MARGINALS or not rows.flows:
        return list(range(count))[:MARGINALS]
    last = list(rows.flows.values())[-1]
    far = [largest_distance(rows.data[:, column], last[:, column]) for column in range(count)]
    return sorted(sorted(range(count), key=lambda column: -far[column])[:MARGINALS])


def largest_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the largest distance between the distribution functions of two samples.

    Examples:
        >>> largest_distance(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
        0.0
        >>> largest_distance(np.array([0.0, 1.0]), np.array([5.0, 6.0]))
        1.0
    """
    places = np.sort(np.concatenate([first, second]))
    shares = [
        np.searchsorted(np.sort(each), places, side="right") / len(each) for each in (first, second)
    ]
    return float(np.abs(shares[0] - shares[1]).max())


def _marginal(rows: TableRows, column: int) -> Marginal:
    data = rows.data[:, column]
    samples = {label: values[:, column] for label, values in rows.flows.items()}
    low, high = frame_of(data)
    name = rows.names[column]

    def beyond(values: np.ndarray) -> float:
        return float(1 - ((values >= low) & (values <= high)).mean())

    usual = beyond(data)
    far = {label: share for label, values in samples.items() if (share := beyond(values)) > 0}
    noted = [f"{share:.1%} of {label}" for label, share in far.items() if share > usual + NOTED]
    svg = svg_plot(
        lambda axes: _draw_marginal(axes, data, list(samples.values()), (low, high)),
        name=f"marginal-{column}",
        description=f"Histograms of {name}: data, {', '.join(samples)}",
        width=WIDTH,
        height=HEIGHT,
    )
    return Marginal(name, f"{', '.join(noted)} beyond" if noted else "", Markup(svg))


def _draw_marginal(
    axes: Axes, data: np.ndarray, samples: Sequence[np.ndarray], frame: tuple[float, float]
) -> None:
    edges = np.linspace(*frame, bins_of(len(data)) + 1)
    axes.stairs(density_of(data, edges), edges, fill=True, color=RULE)
    for place, values in enumerate(samples):
        # Wide below narrow: a line that lies on another leaves both to be seen.
        width = max(0.8, 1.9 - 0.5 * place)
        color = SERIES[place % len(SERIES)]
        axes.stairs(density_of(values, edges), edges, color=color, linewidth=width)
    axes.set_yticks([])
    axes.grid(False)
    axes.set_ylim(bottom=0)
    axes.set_xlim(*frame)
    axes.locator_params(axis="x", nbins=4)


def bins_of(rows: int) -> int:
    """Returns as many bins as so many rows make a smooth histogram of."""
    return int(np.clip(2.5 * rows ** (1 / 3), FEWEST_BINS, MOST_BINS))


def density_of(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns the density of values over bins, of all of them, also those beyond the bins."""
    counts = np.histogram(values[np.isfinite(values)], edges)[0]
    return np.asarray(counts / (len(values) * np.diff(edges)))


def frame_of(data: np.ndarray) -> tuple[float, float]:
    """Returns where a column's frame begins and ends: nearly all data, and some room."""
    low, high = (float(value) for value in np.quantile(data, [TAILS, 1 - TAILS]))
    room = 0.05 * (high - low) or 0.5 * max(1.0, abs(low))
    return low - room, high + room
