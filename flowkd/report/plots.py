"""The plot of likelihoods that pages show, and grids of pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes

from flowkd.evaluation.figures import FlowFigures
from flowkd.report.images import encode_png
from flowkd.report.style import INK, SERIES, svg_plot

T = TypeVar("T")

MARKERS = ("o", "s", "D", "v", "P", "X")


def likelihood_plot(figures: Mapping[str, FlowFigures]) -> str:
    """Returns a dot plot of bits/dim, one row a flow, the bars one standard error to each side.

    A line marks the first flow's, which the others are compared with.
    """
    spoken = ", ".join(f"{label} {flow.bits_per_dim:.3f}" for label, flow in figures.items())
    return svg_plot(
        lambda axes: _draw_likelihood(axes, figures),
        name="likelihood",
        description=f"Bits per dimension: {spoken}",
        height=54 + 36 * len(figures),
    )


def png_grid(images: np.ndarray, columns: int) -> bytes:
    """Lays pictures out row by row, one transparent pixel apart.

    Args:
        images: uint8 levels 0..255, (N, C, H, W) with 1 or 3 channels.
        columns: Pictures in a row.

    Returns:
        A PNG file, with an alpha channel.

    Raises:
        ValueError: Another shape or dtype, no pictures, or no columns.
    """
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[1] not in (1, 3)
        or not images.size
        or columns < 1
    ):
        raise ValueError(
            f"expected uint8 images (N, 1 or 3, H, W) and at least 1 column; got {images.dtype} "
            f"{images.shape} and {columns} columns"
        )
    count, _, height, width = images.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    grid = np.zeros((rows * (height + 1) - 1, columns * (width + 1) - 1, 4), np.uint8)
    for place, image in enumerate(images):
        top, left = (place // columns) * (height + 1), (place % columns) * (width + 1)
        cell = grid[top : top + height, left : left + width]
        cell[:, :, :3] = image.transpose(1, 2, 0)
        cell[:, :, 3] = 255
    return encode_png(grid)


def _draw_likelihood(axes: Axes, figures: Mapping[str, FlowFigures]) -> None:
    for row, flow in enumerate(figures.values()):
        bits, error, color = flow.bits_per_dim, flow.standard_error, chosen(SERIES, row)
        if not math.isfinite(bits):
            continue
        if row == 0:
            axes.vlines(bits, 0, len(figures), color=color, linewidth=0.8, linestyle=(0, (1, 3)))
        axes.errorbar(
            bits,
            row,
            xerr=error if math.isfinite(error) else None,
            color=color,
            marker=chosen(MARKERS, row),
            markersize=6,
            linewidth=1.5,
        )
        axes.annotate(f"{bits:.3f}", (bits, row), (0, 7), textcoords="offset points", ha="center")
    axes.grid(False)
    axes.set_yticks(range(len(figures)), list(figures))
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(figures) - 0.6, -0.8)
    axes.margins(x=0.15)
    axes.locator_params(axis="x", nbins=5)
    axes.set_xlabel("bits per dimension, lower is better")


def chosen(choices: Sequence[T], place: int) -> T:
    """Returns one of a few for a series by its place; they come again where there are more."""
    return choices[place % len(choices)]
