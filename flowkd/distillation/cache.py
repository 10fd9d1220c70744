"""A teacher's targets, computed once and kept."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from flowkd.config import Config
from flowkd.data.batch import Batch
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.reading import StoredRows
from flowkd.data.rows import Examples
from flowkd.data.seeds import derive_seed
from flowkd.distillation.targets import compute_targets, target_names, target_shapes
from flowkd.distillation.together import together
from flowkd.errors import ConfigError
from flowkd.flows.flow import Flow

CHUNK = 500
FLOAT_BYTES = 4


class CacheConfig(Config):
    """The teacher's targets, computed once before training, with the very noise of its rows.

    Of several workers each computes its part, and all get the whole.

    Attributes:
        kind: `none`: computed at each step; else kept in memory, or on disk, memory-mapped.
        copies: How many noisy versions of each row are kept, of data of integers or steps.
        limit_gib: The most that each worker may keep, data and samples together, in GiB.
    """

    kind: Literal["none", "memory", "disk"] = "none"
    copies: int = Field(1, ge=1)
    limit_gib: float = Field(4.0, gt=0)


def check_cache(cache: CacheConfig, teacher: Flow, rows: int, taps: Collection[str]) -> None:
    """Raises ConfigError if so many rows, with the teacher's targets, are more than the limit."""
    each = 1 + 2 * teacher.dimensions + len(taps) * (1 + teacher.dimensions)
    needed = rows * each * FLOAT_BYTES / 2**30
    if needed > cache.limit_gib:
        raise ConfigError(
            f"objective.cache: expected at most limit_gib = {cache.limit_gib}; got {needed:.2f} "
            f"GiB for {rows} rows and {len(taps)} hints: lower copies, train_rows or "
            f"samples.rows, raise limit_gib, or choose kind: none"
        )


def cache_targets(
    teacher: Flow,
    parts: Iterable[Batch],
    rows: int,
    taps: Collection[str],
    kind: str,
    workers: int = 1,
) -> Examples:
    """Returns rows together with the teacher's targets to them.

    Args:
        teacher: The flow whose targets are computed, once for every row.
        parts: The rows, which carry their noise already.
        rows: Number of rows in all parts.
        taps: Where the teacher's states are recorded.
        kind: `memory` or `disk`.
        workers: So many call this, and each computes its part of the targets.
    """
    like = next(teacher.parameters())
    names, shapes = target_names(taps), target_shapes(teacher, taps)

    def compute(part: Batch) -> list[Tensor]:
        seen = part.to(like.device)
        values = compute_targets(teacher, seen.x, seen.context, taps)
        return [values[name] for name in names]

    def room(part: Batch) -> list[Tensor]:
        return [like.new_empty(len(part), *shapes[name]) for name in names]

    columns: dict[str, Tensor] = {}
    start = 0
    for part, made in together(parts, compute, room, workers):
        values = {"x": part.x, **dict(zip(names, made, strict=True))}
        if part.context is not None:
            values["context"] = part.context
        for name, value in values.items():
            if name not in columns:
                columns[name] = _allocate((rows, *value.shape[1:]), value.dtype, kind)
            columns[name][start : start + len(part)] = value.cpu()
        start += len(part)
    return Examples(columns.pop("x"), columns.pop("context", None), columns)


def data_with_targets(
    teacher: Flow,
    rows: StoredRows | Examples,
    bins: int | None,
    taps: Collection[str],
    cache: CacheConfig,
    seed: int,
    workers: int = 1,
) -> Examples:
    """Returns the rows of a data set, each as many times as noisy copies are kept, with targets.

    Args:
        teacher: The flow whose targets are computed.
        rows: The rows to train on.
        bins: The number of integer values of x; None if x is continuous. Rows without noise are
            kept once.
        taps: Where the teacher's states are recorded.
        cache: Number of noisy copies of each row, and where they are kept.
        seed: Seed of the run, from which the noise is drawn.
        workers: So many call this, and each computes its part of the targets.
    """
    copies = noisy_copies(cache, rows, bins)
    whole = rows.read_all()
    parts = (
        part
        for copy in range(copies)
        for part in evaluation_batches(whole, bins, CHUNK, derive_seed(seed, "cache", copy))
    )
    known = cache_targets(teacher, parts, copies * len(rows), taps, cache.kind, workers)
    return replace(known, sharding=[*rows.shard_sizes] * copies)


def noisy_copies(cache: CacheConfig, rows: StoredRows | Examples, bins: int | None) -> int:
    """Returns how many versions of each row are kept: one, where no noise tells them apart."""
    return cache.copies if bins is not None or rows.steps is not None else 1


def with_taps(known: Examples, taps: Collection[str]) -> Examples:
    """Returns rows with no other targets than those for these taps."""
    wanted = target_names(taps)
    return replace(known, targets={name: known.targets[name] for name in wanted})


def _allocate(shape: tuple[int, ...], dtype: torch.dtype, kind: str) -> Tensor:
    memory = torch.empty(0, dtype=dtype)
    if kind != "disk":
        return memory.new_empty(shape)
    with tempfile.TemporaryDirectory(prefix="flowkd-cache-") as folder:
        # The file loses its name at once: its space is free again when the process ends.
        file = Path(folder, "targets.npy")
        mapped = np.lib.format.open_memmap(file, "w+", memory.numpy().dtype, shape)
        return torch.from_numpy(mapped)
