"""One shard of a dataset -> values, once its bytes are verified."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from flowkd.data.manifest import Manifest, Shard
from flowkd.errors import DataError, StoreError
from flowkd.store.store import Store


def read_shard(store: Store, manifest: Manifest, shard: Shard) -> pa.Table:
    """Returns a shard's table.

    Raises:
        DataError: It is missing, truncated, altered, or has another number of rows.
    """
    where = _where(manifest, shard)
    try:
        data = store.read("datasets", manifest.name, shard.file)
    except StoreError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"{where}: {error}") from error
        raise DataError(f"{where} is missing from store {store.uri}; {remedy(manifest)}") from error
    if len(data) != shard.bytes:
        raise DataError(
            f"{where} is truncated or altered: expected {shard.bytes} bytes; got {len(data)}; "
            f"{remedy(manifest)}"
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != shard.sha256:
        raise DataError(
            f"{where} is corrupt: expected SHA-256 {shard.sha256}; got {digest}; {remedy(manifest)}"
        )
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        found = file.metadata.num_rows
        if found != shard.rows:  # before they are unpacked: a small file may claim a great many
            raise DataError(f"{where}: expected {shard.rows} rows; got {found}; {remedy(manifest)}")
        return file.read(use_threads=False)  # the caller has threads of its own
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{where} is not Parquet: {error}; {remedy(manifest)}") from error


def fill(
    target: Tensor, table: pa.Table, name: str, width: int, manifest: Manifest, shard: Shard
) -> None:
    """Copies a column's first rows into the target: once, chunk by chunk, from Arrow's memory.

    Raises:
        DataError: There is no such column, or it is of another type or width.
    """
    view = target.view(len(target), width).numpy()
    found = table.schema.field(name).type if name in table.column_names else None
    item = pa.from_numpy_dtype(view.dtype)
    if found is None or not _holds(found, width, item):
        raise DataError(
            f"{_where(manifest, shard)}: expected column {name!r} of {width} {item} values a row; "
            f"got {found if found is not None else 'no such column'}; {remedy(manifest)}"
        )
    done = 0
    for chunk in table[name].chunks:
        rows = _values(chunk, view.dtype).reshape(-1, width)[: len(view) - done]
        view[done : done + len(rows)] = rows
        done += len(rows)


def _holds(kind: pa.DataType, width: int, item: pa.DataType) -> bool:
    """Tells whether values of a column are so many of a type: as bytes, a list, or one number."""
    if pa.types.is_fixed_size_binary(kind):
        return (kind.byte_width, pa.uint8()) == (width, item)
    if pa.types.is_fixed_size_list(kind):
        return (kind.list_size, kind.value_type) == (width, item)
    return width == 1 and kind == item


def _values(chunk: pa.Array, dtype: np.dtype) -> np.ndarray:
    if pa.types.is_fixed_size_binary(chunk.type):
        width = chunk.type.byte_width
        data = np.frombuffer(chunk.buffers()[1], dtype)
        return data[chunk.offset * width : (chunk.offset + len(chunk)) * width]
    flat = chunk.flatten() if pa.types.is_fixed_size_list(chunk.type) else chunk
    return flat.to_numpy(zero_copy_only=True)


def _where(manifest: Manifest, shard: Shard) -> str:
    return f"shard {shard.file!r} of dataset {manifest.name!r}"


def remedy(manifest: Manifest) -> str:
    """Returns what to do about a dataset that is not what its manifest says."""
    return (
        f"remove datasets/{manifest.name} from the store and prepare it again "
        f"(`python -m jobs.prepare --config FILE`)"
    )
