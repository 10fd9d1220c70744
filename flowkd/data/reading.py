"""A split of a prepared dataset -> tensors in memory, each shard verified on the way."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from flowkd.data.manifest import Manifest, Shard
from flowkd.errors import DataError, StoreError
from flowkd.store import Store


@dataclass(frozen=True)
class Examples:
    """The rows of a split.

    Attributes:
        x: (N, *event), uint8 (integer bins) or float32 (continuous), in data units.
        context: None, (N,) int64 classes, or (N, c) float32 vectors.
        answers: What a teacher said of each row, (N, ...) by name; none for data as stored.
    """

    x: Tensor
    context: Tensor | None = None
    answers: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)


def load_split(
    store: Store, manifest: Manifest, split: str, *, limit: int | None = None
) -> Examples:
    """Returns a split's rows, in their stored order.

    Args:
        store: Where the dataset lies.
        manifest: As `read_manifest` returns it.
        split: `train`, `val` or `test`.
        limit: The most rows, from the first on; no more shards are read than these need.

    Raises:
        DataError: There is no such split, or a shard is missing, truncated, altered, or not
            what the manifest says.
        ValueError: limit is below 1.
    """
    if split not in manifest.splits:
        raise DataError(
            f"dataset {manifest.name!r} has no split {split!r}; expected one of "
            f"{', '.join(manifest.splits)}"
        )
    if limit is not None and limit < 1:
        raise ValueError(f"expected limit of at least 1; got {limit}")
    stored = manifest.splits[split]
    rows = stored.rows if limit is None else min(limit, stored.rows)
    event = manifest.event_shape
    x = torch.empty((rows, *event), dtype=torch.float32 if manifest.bins is None else torch.uint8)
    context = _empty_context(manifest, rows)
    filled = 0
    for shard in stored.shards:
        if filled >= rows:
            break
        table = _read_shard(store, manifest, shard)
        part = slice(filled, min(filled + table.num_rows, rows))
        _fill(x[part], table, "x", math.prod(event), manifest, shard)
        if context is not None:
            width = manifest.context_size or 1
            _fill(context[part], table, "context", width, manifest, shard)
        filled = part.stop
    if filled != rows:
        raise DataError(
            f"split {split!r} of dataset {manifest.name!r}: expected {rows} rows; got {filled}; "
            f"{_remedy(manifest)}"
        )
    if manifest.bins is not None and int(x.max()) >= manifest.bins:
        raise DataError(
            f"split {split!r} of dataset {manifest.name!r}: expected x below "
            f"{manifest.bins}; got {int(x.max())}; {_remedy(manifest)}"
        )
    return Examples(x, context)


def _empty_context(manifest: Manifest, rows: int) -> Tensor | None:
    if manifest.classes is not None:
        return torch.empty(rows, dtype=torch.int64)
    if manifest.context_size is not None:
        return torch.empty(rows, manifest.context_size, dtype=torch.float32)
    return None


def _read_shard(store: Store, manifest: Manifest, shard: Shard) -> pa.Table:
    where = _where(manifest, shard)
    try:
        data = store.read("datasets", manifest.name, shard.file)
    except StoreError as error:
        raise DataError(
            f"{where} is missing from store {store.uri}; {_remedy(manifest)}"
        ) from error
    if len(data) != shard.bytes:
        raise DataError(
            f"{where} is truncated or altered: expected {shard.bytes} bytes; got {len(data)}; "
            f"{_remedy(manifest)}"
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != shard.sha256:
        raise DataError(
            f"{where} is corrupt: expected SHA-256 {shard.sha256}; got {digest}; "
            f"{_remedy(manifest)}"
        )
    try:
        return pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise DataError(f"{where} is not Parquet: {error}; {_remedy(manifest)}") from error


def _fill(
    target: Tensor, table: pa.Table, name: str, width: int, manifest: Manifest, shard: Shard
) -> None:
    """Copies a column's first rows into the target: once, chunk by chunk, from Arrow's memory."""
    view = target.view(len(target), width).numpy()
    found = table.schema.field(name).type if name in table.column_names else None
    item = pa.from_numpy_dtype(view.dtype)
    fits = found is not None and (
        (
            pa.types.is_fixed_size_list(found)
            and (found.list_size, found.value_type) == (width, item)
        )
        or (width == 1 and found == item)
    )
    if not fits:
        raise DataError(
            f"{_where(manifest, shard)}: expected column {name!r} of {width} {item} values a row; "
            f"got {found if found is not None else 'no such column'}; {_remedy(manifest)}"
        )
    done = 0
    for chunk in table[name].chunks:
        values = chunk.flatten() if pa.types.is_fixed_size_list(chunk.type) else chunk
        rows: np.ndarray = values.to_numpy(zero_copy_only=True).reshape(-1, width)
        rows = rows[: len(view) - done]
        view[done : done + len(rows)] = rows
        done += len(rows)


def _where(manifest: Manifest, shard: Shard) -> str:
    return f"shard {shard.file!r} of dataset {manifest.name!r}"


def _remedy(manifest: Manifest) -> str:
    return (
        f"remove datasets/{manifest.name} from the store and prepare it again "
        f"(`python -m jobs.prepare --config FILE`)"
    )
