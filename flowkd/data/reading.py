"""Reads the rows of a data set's split from its shards in a store, and verifies them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from flowkd.data.manifest import Manifest, Shard
from flowkd.data.rows import Examples, count_shards
from flowkd.data.steps import step_widths
from flowkd.errors import DataError, StoreError
from flowkd.store.store import Store


class StoredRows:
    """The rows of a split in a store; each shard is verified when it is read.

    Args:
        store: Where the data set lies.
        manifest: The data set's manifest.
        split: `train`, `val` or `test`.
        limit: Number of rows, from the first on; default all.
        context: Whether the context is read, if there is one; default True.
        group: Whether the rows' groups are read, if there are any; default False.

    Raises:
        DataError: There is no such split.
        ValueError: limit is below 1.
    """

    def __init__(
        self,
        store: Store,
        manifest: Manifest,
        split: str,
        *,
        limit: int | None = None,
        context: bool = True,
        group: bool = False,
    ) -> None:
        if split not in manifest.splits:
            raise DataError(
                f"dataset {manifest.name!r} has no split {split!r}; expected one of "
                f"{', '.join(manifest.splits)}"
            )
        if limit is not None and limit < 1:
            raise ValueError(f"expected limit of at least 1; got {limit}")
        self._store = store
        self._manifest = manifest
        self._split = split
        self._context = context
        self._group = group and manifest.group is not None
        self._kept: dict[int, pa.Table] = {}
        self._keeps, self._room = False, 0.0  # bytes of shards that may still be kept
        self.shards: list[Shard] = []
        self.shard_sizes: list[int] = []
        left = manifest.splits[split].rows if limit is None else limit
        for shard in manifest.splits[split].shards:
            if left > 0:
                self.shards.append(shard)
                self.shard_sizes.append(min(shard.rows, left))
                left -= shard.rows

    def __len__(self) -> int:
        return sum(self.shard_sizes)

    def __str__(self) -> str:
        return f"split {self._split!r} of dataset {self._manifest.name!r}"

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of x."""
        return torch.float32 if self._manifest.bins is None else torch.uint8

    @property
    def steps(self) -> Tensor | None:
        """Widths of the columns' steps (D,), to which noise is added; 0 and None for none."""
        return step_widths(self._manifest.steps)

    @property
    def row_bytes(self) -> int:
        """Bytes of memory that a row takes once it is read."""
        manifest = self._manifest
        own = math.prod(manifest.event_shape) * self.dtype.itemsize
        if not self._context:
            return own
        return own + (8 if manifest.classes is not None else 4 * (manifest.context_size or 0))

    def without_context(self) -> StoredRows:
        """Returns the rows without context, for a flow that is not conditioned."""
        limit = len(self)
        return StoredRows(self._store, self._manifest, self._split, limit=limit, context=False)

    @contextmanager
    def keeping(self, memory_gib: float) -> Iterator[None]:
        """Within it, shards that are read stay in memory, up to a limit, and are not read again.

        Where it is entered again within, the outer one decides how much is kept, and for how long.
        """
        if self._keeps:
            yield
            return
        self._keeps, self._room = True, memory_gib * 2**30
        try:
            yield
        finally:
            self._keeps, self._room = False, 0.0
            self._kept.clear()

    def read_shard(self, number: int) -> Examples:
        """Returns the rows of a shard.

        Raises:
            DataError: It is missing, truncated, altered, or not what the manifest says.
        """
        return self._read(range(number, number + 1))

    def read_at_least(self, count: int) -> Examples:
        """Returns the first shards that together have `count` rows, or all if there are fewer."""
        return self._read(range(count_shards(self.shard_sizes, count)))

    def read_all(self) -> Examples:
        """Returns all rows, in their stored order; raises as `read_shard` does."""
        return self._read(range(len(self.shards)))

    def _read(self, numbers: range) -> Examples:
        manifest = self._manifest
        event = manifest.event_shape
        rows = sum(self.shard_sizes[number] for number in numbers)
        try:
            x = torch.empty((rows, *event), dtype=self.dtype)
            context = self._empty_context(rows)
            group = torch.empty(rows, dtype=torch.int64) if self._group else None
        except RuntimeError as error:
            size = rows * self.row_bytes
            raise DataError(
                f"{self}: no memory for {rows:,} rows of {event} values, {size / 2**30:,.1f} GiB: "
                f"read fewer (train_rows); if there are fewer, {_hint(manifest)}"
            ) from error
        filled = 0
        for number in numbers:
            shard = self.shards[number]
            table = self._table(number)
            part = slice(filled, filled + self.shard_sizes[number])
            copy_column(x[part], table, "x", math.prod(event), manifest, shard)
            if context is not None:
                width = manifest.context_size or 1
                copy_column(context[part], table, "context", width, manifest, shard)
            if group is not None:
                copy_column(group[part], table, "group", 1, manifest, shard)
            filled = part.stop
        if manifest.bins is not None and rows and int(x.max()) >= manifest.bins:
            raise DataError(
                f"{self}: expected x below {manifest.bins}; got {int(x.max())}; {_hint(manifest)}"
            )
        return Examples(x, context, steps=self.steps, group=group)

    def _table(self, number: int) -> pa.Table:
        if number in self._kept:
            return self._kept[number]
        table = read_shard_table(self._store, self._manifest, self.shards[number])
        if table.nbytes <= self._room:
            self._kept[number] = table
            self._room -= table.nbytes
        return table

    def _empty_context(self, rows: int) -> Tensor | None:
        if not self._context:
            return None
        if self._manifest.classes is not None:
            return torch.empty(rows, dtype=torch.int64)
        if self._manifest.context_size is not None:
            return torch.empty(rows, self._manifest.context_size, dtype=torch.float32)
        return None


def load_split(
    store: Store, manifest: Manifest, split: str, *, limit: int | None = None
) -> Examples:
    """Returns a split's rows with their groups, in their stored order: all, or the first `limit`.

    Raises:
        DataError: There is no such split, or a shard is missing, truncated, altered, or not
            what the manifest says.
        ValueError: limit is below 1.

    Examples:
        >>> import numpy as np
        >>> from flowkd.data.writing import SplitArrays, write_dataset
        >>> store = Store("memory://reading")
        >>> rows = SplitArrays(np.arange(6, dtype=np.float32).reshape(3, 2))
        >>> splits = {"train": rows, "val": rows, "test": rows}
        >>> manifest = write_dataset(store, "mine", splits, kind="table", source="example")
        >>> load_split(store, manifest, "train", limit=2).x
        tensor([[0., 1.],
                [2., 3.]])
        >>> store.remove()
    """
    return StoredRows(store, manifest, split, limit=limit, group=True).read_all()


def read_shard_table(store: Store, manifest: Manifest, shard: Shard) -> pa.Table:
    """Returns a shard's table, once its size and hash are those of the manifest.

    Raises:
        DataError: It is missing, truncated, altered, or has another number of rows.
    """
    where = _where(manifest, shard)
    try:
        data = store.read("datasets", manifest.name, shard.file)
    except StoreError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise DataError(f"{where}: {error}") from error
        raise DataError(f"{where} is missing from store {store.uri}; {_hint(manifest)}") from error
    if len(data) != shard.bytes:
        raise DataError(
            f"{where} is truncated or altered: expected {shard.bytes} bytes; got {len(data)}; "
            f"{_hint(manifest)}"
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != shard.sha256:
        raise DataError(
            f"{where} is corrupt: expected SHA-256 {shard.sha256}; got {digest}; {_hint(manifest)}"
        )
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        found = file.metadata.num_rows
        if found != shard.rows:  # before they are unpacked: a small file may claim a great many
            raise DataError(f"{where}: expected {shard.rows} rows; got {found}; {_hint(manifest)}")
        return file.read(use_threads=False)  # the caller has threads of its own
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{where} is not Parquet: {error}; {_hint(manifest)}") from error


def copy_column(
    target: Tensor, table: pa.Table, name: str, width: int, manifest: Manifest, shard: Shard
) -> None:
    """Copies the first rows of a column from Arrow's memory into a tensor, chunk by chunk.

    Raises:
        DataError: There is no such column, or it is of another type or width.
    """
    view = target.view(len(target), width).numpy()
    found = table.schema.field(name).type if name in table.column_names else None
    item = pa.from_numpy_dtype(view.dtype)
    if found is None or not _holds(found, width, item):
        raise DataError(
            f"{_where(manifest, shard)}: expected column {name!r} of {width} {item} values a row; "
            f"got {found if found is not None else 'no such column'}; {_hint(manifest)}"
        )
    done = 0
    for chunk in table[name].chunks:
        rows = _values(chunk, view.dtype).reshape(-1, width)[: len(view) - done]
        view[done : done + len(rows)] = rows
        done += len(rows)


def _holds(kind: pa.DataType, width: int, item: pa.DataType) -> bool:
    """Tells whether a column has `width` values of a type in each row: as bytes, a list, or one."""
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


def _hint(manifest: Manifest) -> str:
    """Returns what to do about a data set that is not what its manifest says."""
    return (
        f"remove datasets/{manifest.name} from the store and prepare it again "
        f"(`python -m jobs.prepare --config FILE`)"
    )
