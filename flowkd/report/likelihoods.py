"""Histograms of likelihood: what a flow has learnt from, what it has not, and what is noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.axes import Axes
from torch import Tensor

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.rows import Examples
from flowkd.data.shuffle import seeded_generator
from flowkd.evaluation.metrics import EVALUATION_SEED, bits_per_dim, rows_for
from flowkd.flows.flow import Flow
from flowkd.report.style import INK, MUTED, RULE, SERIES, svg_plot

NOISE = "noise"
BINS = 36
TAILS = 0.01  # share of the rows on either side of the frame
FAR = 2.5  # frames of the data: noise that is further away is told, not drawn
WIDTH, HEIGHT = 220, 135
Bits = Mapping[str, np.ndarray]


class Histogram(NamedTuple):
    """Histograms of one flow."""

    name: str
    svg: Markup


def noise_like(rows: Examples, bins: int | None) -> Examples:
    """Returns rows without what belongs together in data.

    Of pixels, all values are equally likely; of a table, each column is shuffled by itself.
    """
    generator = seeded_generator(EVALUATION_SEED, "noise")
    if bins is not None:
        x = torch.randint(0, bins, rows.x.shape, generator=generator, dtype=torch.uint8)
    else:
        order = torch.rand(rows.x.shape, generator=generator).argsort(0)
        x = rows.x.gather(0, order)
    return Examples(x, rows.context, steps=rows.steps)


@torch.no_grad()
def bits_of(flow: Flow, rows: Examples, bins: int | None) -> np.ndarray:
    """Returns bits per dimension of each row, (N,), as an evaluation computes them."""
    batches = evaluation_batches(rows_for(flow, rows), bins, 256, EVALUATION_SEED)
    found = [
        bits_per_dim(flow.log_prob(batch.x, batch.context).double(), flow.dimensions)
        for batch in batches
    ]
    return torch.cat([each for each in found if isinstance(each, Tensor)]).numpy()


def likelihood_histograms(found: Mapping[str, Bits]) -> list[Histogram]:
    """Returns a frame of each flow, all of one range.

    Args:
        found: Bits per dimension by flow, then by what they are of: what was learnt from, what
            was held out, and NOISE.
    """
    if not found:
        return []
    frame = _frame(found)
    return [
        _histogram(label, bits, frame, SERIES[place % len(SERIES)], f"bits-{place}")
        for place, (label, bits) in enumerate(found.items())
    ]


def _histogram(
    label: str, bits: Bits, frame: tuple[float, float], color: str, name: str
) -> Histogram:
    told = ", ".join(f"{what} {np.median(values):.3f}" for what, values in bits.items())
    svg = svg_plot(
        lambda axes: _draw(axes, bits, frame, color),
        name=name,
        description=f"Bits per dimension under {label}, medians: {told}",
        width=WIDTH,
        height=HEIGHT,
    )
    return Histogram(label, Markup(svg))


def _frame(found: Mapping[str, Bits]) -> tuple[float, float]:
    """Returns the range of data under all flows, and of noise where it is not far from them."""
    data: list[np.ndarray] = []
    noise: list[np.ndarray] = []
    for bits in found.values():
        for what, values in bits.items():
            finite = values[np.isfinite(values)]
            if len(finite):
                ends = np.quantile(finite, [TAILS, 1 - TAILS])
                (noise if what == NOISE else data).append(ends)
    if not data:
        return 0.0, 1.0
    low, high = float(np.min(data)), float(np.max(data))
    if noise and 0 < np.max(noise) - high < FAR * (high - low):
        high = float(np.max(noise))
    if noise and 0 < low - np.min(noise) < FAR * (high - low):
        low = float(np.min(noise))
    room = 0.04 * (high - low) or 0.5
    return low - room, high + room


def _draw(axes: Axes, bits: Bits, frame: tuple[float, float], color: str) -> None:
    edges = np.linspace(*frame, BINS + 1)
    for place, (what, values) in enumerate(bits.items()):
        finite = values[np.isfinite(values)]
        shares = np.histogram(finite, edges)[0] / len(values)
        if what != NOISE:
            look = {"fill": True, "color": RULE} if not place else {"color": color}
            axes.stairs(shares, edges, linewidth=1.4, **look)
        elif shares.sum() > 0.5:
            axes.stairs(shares, edges, color=MUTED, linewidth=1.2, linestyle=(0, (2, 1.5)))
        else:
            _tell_noise(axes, float(np.median(values)), frame)
    axes.set_yticks([])
    axes.grid(False)
    axes.set_ylim(bottom=0)
    axes.set_xlim(*frame)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("bits per dimension")


def _tell_noise(axes: Axes, median: float, frame: tuple[float, float]) -> None:
    right = not median < frame[0]
    value = f"{median:.3g}" if math.isfinite(median) else "infinite"
    arrow = "\N{RIGHTWARDS ARROW}" if right else "\N{LEFTWARDS ARROW}"
    words = (f"noise: {value}", arrow) if right else (arrow, f"noise: {value}")
    axes.text(
        0.98 if right else 0.02, 0.97, " ".join(words),
        transform=axes.transAxes, ha="right" if right else "left", va="top",
        color=INK, fontsize=10,
    )  # fmt: skip
