"""A preview of a data set as a PNG: some of its pictures, or histograms of its columns."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from flowkd.data.facts import column_names
from flowkd.data.manifest import Manifest
from flowkd.data.reading import StoredRows
from flowkd.data.shuffle import seeded_generator
from flowkd.report.images import encode_png, picture_grid
from flowkd.store.store import Store

PICTURES = 64
SIDE = 64  # pixels; smaller pictures are enlarged to about as many
ROWS = 20_000
PANELS = 60  # of more columns, no panel could be read, and laying them out takes minutes
NAME_LENGTH = 24
BINS = 60
TAILS = 0.002  # share of values that are not shown, so that a few far ones don't hide the rest
INK, FILL = "#333333", "#4878a8"


def dataset_preview(store: Store, manifest: Manifest, split: str = "train", seed: int = 0) -> bytes:
    """Returns a PNG of random pictures of a split, or of a histogram of each column.

    Of more than PANELS columns, it shows the first so many, and says how many it leaves out.
    The rows come from the first shards: an import has shuffled them.

    Raises:
        DataError: There is no such split, or its shards cannot be read.
    """
    wanted = PICTURES if manifest.kind == "image" else ROWS
    rows = StoredRows(store, manifest, split).without_context().read_at_least(wanted).x
    order = torch.randperm(len(rows), generator=seeded_generator(seed, "sheet"))
    chosen = rows[order[:wanted]].numpy()
    if manifest.kind == "image":
        return _contact_sheet(chosen, manifest.bins or 256)
    values = chosen.reshape(len(chosen), -1)
    return _histograms(values, column_names(manifest, values.shape[1]), manifest.name)


def _contact_sheet(pictures: np.ndarray, bins: int) -> bytes:
    factor = max(1, SIDE // pictures.shape[-1])
    return encode_png(picture_grid(pictures.repeat(factor, 2).repeat(factor, 3), bins))


def _histograms(rows: np.ndarray, every: Sequence[str], title: str) -> bytes:
    names = every[:PANELS]
    columns = math.ceil(math.sqrt(len(names) * 1.4))
    lines = math.ceil(len(names) / columns)
    figure = Figure(figsize=(1.6 * columns, 1.15 * lines + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    text = f"{title}: {len(rows):,} rows, the middle {1 - TAILS:.1%} of each column"
    if len(every) > len(names):
        text += (
            f"\nthe first {len(names)} of {len(every):,} columns; not shown: "
            f"{_short(every[len(names)])} to {_short(every[-1])}"
        )
    figure.suptitle(text, fontsize=10, color=INK, parse_math=False)
    for number, axes in enumerate(figure.subplots(lines, columns, squeeze=False).flat):
        if number < len(names):
            _histogram(axes, rows[:, number], names[number])
        else:
            axes.axis("off")
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _histogram(axes: Axes, values: np.ndarray, name: str) -> None:
    shown = np.quantile(values, [TAILS / 2, 1 - TAILS / 2])
    axes.hist(values, bins=BINS, range=tuple(shown), color=FILL, density=True)
    axes.set_title(_short(name), fontsize=8, color=INK, pad=2, parse_math=False)
    axes.set_yticks([])
    axes.tick_params(axis="x", labelsize=6, colors=INK, length=2, pad=1)
    axes.locator_params(axis="x", nbins=3)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}\N{HORIZONTAL ELLIPSIS}"
