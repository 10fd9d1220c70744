"""The plots of flows and runs that pages show, and grids of pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from flowkd.evaluation.compare import FlowFigures
from flowkd.report.images import encode_png
from flowkd.report.style import INK, SERIES, svg_plot

Curve = Sequence[tuple[float, float]]

MARKERS = ("o", "s", "D")

FEW = 30  # a curve of more points has no markers
LOG_RANGE = 30.0  # where values differ by more, their axis is logarithmic


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


def curves_plot(curves: Mapping[str, Curve], *, name: str, description: str) -> str:
    """Returns curves against the step; their places in the mapping give them their colours.

    Args:
        curves: (step, value) by label; an empty one leaves its place free.
        name: Tells this plot's identifiers in the page from those of others.
        description: For those who don't see it.
    """
    return svg_plot(lambda axes: _draw_curves(axes, curves), name=name, description=description)


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
        bits, error, color = flow.bits_per_dim, flow.standard_error, _of(SERIES, row)
        if not math.isfinite(bits):
            continue
        if row == 0:
            axes.vlines(bits, 0, len(figures), color=color, linewidth=0.8, linestyle=(0, (1, 3)))
        axes.errorbar(
            bits,
            row,
            xerr=error if math.isfinite(error) else None,
            color=color,
            marker=_of(MARKERS, row),
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


def _draw_curves(axes: Axes, curves: Mapping[str, Curve]) -> None:
    for place, (label, curve) in enumerate(curves.items()):
        if curve:
            axes.plot(
                *zip(*curve, strict=True),
                label=label,
                color=_of(SERIES, place),
                marker=_of(MARKERS, place) if len(curve) <= FEW else None,
                markersize=3.5,
                linewidth=1.3 if len(curve) <= FEW else 0.9,
            )
    if sum(map(bool, curves.values())) > 1:
        axes.legend(loc="upper right", handlelength=1.5)
    values = [value for curve in curves.values() for _, value in curve if math.isfinite(value)]
    if values and min(values) > 0 and max(values) > LOG_RANGE * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    else:
        axes.locator_params(axis="y", nbins=5)
    axes.locator_params(axis="x", nbins=5, integer=True)
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes.set_xlim(left=0)
    axes.set_xlabel("step")


def _of(choices: Sequence[str], place: int) -> str:
    return choices[place % len(choices)]
