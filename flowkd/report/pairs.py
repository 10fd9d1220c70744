"""Pair plots of a table's columns: data, and what each flow draws, in the same frames."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image

from flowkd.report.drawn import TableRows
from flowkd.report.style import SERIES
from flowkd.report.tables import bins_of, density_of, frame_of

PAIRED = 6
SIDE, NAME_ROOM = 300, 70  # of a pair plot, and of the last column's name beside it
LETTER = 5.2  # width of one, about
PIXELS, FINEST, LEVELS = 432, 140, 15  # of a whole picture of densities, and of one of them at most
GAP = 6  # pixels between frames
FOOT = 14  # for the ends of frames


class Pairs(NamedTuple):
    """A pair plot of one source, and the CSS colour that it is drawn in."""

    name: str
    color: str
    svg: Markup


def paired_columns(data: np.ndarray) -> list[int]:
    """Returns the columns, at most PAIRED, that correlate most, in their order.

    The two that correlate most by their ranks, then again and again the one that correlates most
    with those chosen.

    Examples:
        >>> x = np.arange(10.0)
        >>> paired_columns(np.stack([x, x * 0, x**3], 1))
        [0, 1, 2]
    """
    count = data.shape[1]
    if count <= PAIRED:
        return list(range(count))
    ranks = data.argsort(0).argsort(0).astype(np.float64)
    ranks[:, np.ptp(data, axis=0) == 0] = 0
    with np.errstate(invalid="ignore", divide="ignore"):
        related = np.nan_to_num(np.abs(np.corrcoef(ranks.T)))
    np.fill_diagonal(related, -1)
    chosen = [int(place) for place in np.unravel_index(related.argmax(), related.shape)]
    while len(chosen) < PAIRED:
        total = related[chosen].sum(0)
        total[chosen] = -np.inf
        chosen.append(int(total.argmax()))
    return sorted(chosen)


def pair_plots(rows: TableRows) -> list[Pairs]:
    """Returns a pair plot of the data, then one of each flow, in the same frames."""
    if rows.data.shape[1] < 2:
        return []
    columns = paired_columns(rows.data)
    frames = [frame_of(rows.data[:, column]) for column in columns]
    names = [rows.names[column] for column in columns]
    found = []
    for place, (label, values) in enumerate([("data", rows.data), *rows.flows.items()]):
        color = "var(--ink)" if not place else f"var(--series-{(place - 1) % len(SERIES) + 1})"
        svg = _pair_plot(values[:, columns], frames, names, f"pairs-{place}", color, label)
        found.append(Pairs(label, color, Markup(svg)))
    return found


def _pair_plot(
    values: np.ndarray,
    frames: Sequence[tuple[float, float]],
    names: Sequence[str],
    name: str,
    color: str,
    label: str,
) -> str:
    """Returns the lower triangle of a matrix of densities, histograms on its diagonal."""
    count, pixels = len(frames), _pixels(len(frames))
    picture = _densities(values, frames)
    unit = SIDE / len(picture)
    cell, pitch = pixels * unit, (pixels + GAP) * unit
    whole = f'width="{SIDE}" height="{SIDE}"'
    # A mask, so that the page's own colours show, light or dark.
    painted = (
        f'<mask id="{name}-mask" maskUnits="userSpaceOnUse" x="0" y="0" {whole}>'
        f'<image {whole} href="data:image/png;base64,{_png(picture)}"/></mask>'
        f'<rect {whole} style="fill:{color}" mask="url(#{name}-mask)"/>'
    )
    frame_lines = "".join(
        f"M{column * pitch:.1f} {row * pitch:.1f}h{cell:.1f}v{cell:.1f}h-{cell:.1f}z"
        for row in range(count)
        for column in range(row)
    )
    lines = f'<path d="{frame_lines}" style="fill:none;stroke:var(--rule);stroke-width:.7"/>'
    bars = "".join(
        _bars(values[:, place], frame, place * pitch, cell) for place, frame in enumerate(frames)
    )
    words = "".join(
        _words(place, frames[place], names[place], pitch, cell) for place in range(count)
    )
    description = f"Pair plot of {label}: {', '.join(names)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIDE + NAME_ROOM} {SIDE + FOOT}" '
        f'role="img" aria-label="{escape(description)}">{lines}{painted}'
        f'<path d="{bars}" style="fill:{color};fill-opacity:.55"/>{words}</svg>'
    )


def _densities(values: np.ndarray, frames: Sequence[tuple[float, float]]) -> np.ndarray:
    """Returns the densities of all pairs as levels 0..255, GAP pixels between them."""
    count, pixels = len(frames), _pixels(len(frames))
    size = count * (pixels + GAP) - GAP
    picture = np.zeros((size, size), np.uint8)
    finite = values[np.isfinite(values).all(1)]
    for row in range(1, count):
        for column in range(row):
            found, _, _ = np.histogram2d(
                finite[:, row], finite[:, column], pixels, [frames[row], frames[column]]
            )
            # A single row is seen, and what is dense does not drown all else.
            usual = np.quantile(found[found > 0], 0.95) if found.any() else 1.0
            shade = np.sqrt(np.minimum(found / max(usual, 1.0), 1.0))
            levels = np.rint(LEVELS * shade) * (255 // LEVELS)
            top, left = row * (pixels + GAP), column * (pixels + GAP)
            picture[top : top + pixels, left : left + pixels] = levels[::-1].astype(np.uint8)
    return picture


def _pixels(count: int) -> int:
    """Returns the pixels of a side of a frame, where there are so many columns."""
    return min(FINEST, PIXELS // count)


def _png(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _bars(values: np.ndarray, frame: tuple[float, float], left: float, cell: float) -> str:
    """Returns the path of a histogram in a frame on the diagonal."""
    edges = np.linspace(*frame, bins_of(len(values)) // 2 + 1)
    heights = density_of(values, edges)
    most = heights.max() or 1.0
    base, step = left + cell, cell / len(heights)
    path = f"M{left:.1f} {base:.1f}"
    for number, height in enumerate(heights):
        path += f"V{base - 0.92 * cell * height / most:.1f}H{left + (number + 1) * step:.1f}"
    return f"{path}V{base:.1f}z"


def _words(place: int, frame: tuple[float, float], name: str, pitch: float, cell: float) -> str:
    """Returns a column's name, beside its histogram where there is room, and its frame's ends."""
    left, base = place * pitch, SIDE + 10
    low, high = (f"{v:.0f}" if 100 <= abs(v) < 100_000 else f"{v:.2g}" for v in frame)
    room = int((SIDE + NAME_ROOM - left - cell - 4) / LETTER)
    shown = name if len(name) <= room else f"{name[: room - 1]}\N{HORIZONTAL ELLIPSIS}"
    style = "font-size:8.5px;fill:var(--muted)"
    return (
        f'<text x="{left + cell + 4:.1f}" y="{left + cell - 2:.1f}" '
        f'style="font-size:9.5px;fill:var(--ink)">{escape(shown)}</text>'
        f'<text x="{left:.1f}" y="{base:.1f}" style="{style}">{low}</text>'
        f'<text x="{left + cell:.1f}" y="{base:.1f}" text-anchor="end" '
        f'style="{style}">{high}</text>'
    )
