"""Tables that are NumPy arrays of some kind: matrices, records, or an array for each column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from flowkd.data.tables.table import ELEMENT, KIND, Table


class Rows(Protocol):
    """An array that is read in slices of rows: NumPy's, or one that stays in its file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape, rows first."""

    @property
    def dtype(self) -> np.dtype:
        """Type of its values."""

    def __getitem__(self, rows: slice) -> Any:
        """Returns some rows, as NumPy does."""


@dataclass
class ArrayTable(Table):
    """Columns of arrays of equal lengths: each field is an array, or a field of its records."""

    arrays: Sequence[tuple[Rows, str | None]] = ()
    nulls: Mapping[int, float] | None = None

    def batches(
        self, numbers: Sequence[int], texts: Sequence[int] = ()
    ) -> Iterator[list[pa.Array]]:
        """As Table."""
        size = self.batch_rows(numbers)
        for start in range(0, self.rows or 0, size):
            rows = slice(start, min(start + size, self.rows or 0))
            blocks: dict[int, Any] = {}
            found = []
            for number in numbers:
                array, name = self.arrays[number]
                if id(array) not in blocks:
                    blocks[id(array)] = array[rows]
                block = blocks[id(array)]
                values = to_arrow(block if name is None else block[name], self.null(number))
                found.append(values)
            yield found

    def null(self, number: int) -> float | None:
        """Returns the number that stands for no value in a field."""
        return (self.nulls or {}).get(number)


def matrix_table(where: str, array: Rows) -> ArrayTable:
    """Returns the table of an array (N, D), whose columns are x0, x1, ..., or of records (N,)."""
    if array.dtype.names:
        fields = [field_of(name, array.dtype[name]) for name in array.dtype.names]
        sources: list[tuple[Rows, str | None]] = [(array, name) for name in array.dtype.names]
        return ArrayTable(where, fields, array.shape[0], arrays=sources)
    field = field_of("x", np.dtype((array.dtype, array.shape[1:])))
    named = field.with_metadata({**(field.metadata or {}), ELEMENT: b"x"})
    return ArrayTable(where, [named], array.shape[0], arrays=[(array, None)])


def field_of(name: str, dtype: np.dtype) -> pa.Field:
    """Returns an Arrow field for values of a NumPy dtype, whose subarrays become vectors."""
    base, shape = dtype.subdtype or (dtype, ())
    kind = _arrow_type(base)
    described = None if kind != pa.binary() else {KIND: str(base).encode()}
    if shape:
        kind = pa.list_(kind, int(np.prod(shape)))
    return pa.field(name, kind, metadata=described)


def _arrow_type(dtype: np.dtype) -> pa.DataType:
    if dtype.kind in "fiu":
        return pa.from_numpy_dtype(_native(dtype))
    if dtype.kind == "b":
        return pa.bool_()
    return pa.string() if dtype.kind in "SUT" else pa.binary()


def _native(dtype: np.dtype) -> np.dtype:
    """Returns the dtype that Arrow can hold: of this machine's byte order, and of common size."""
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    return dtype.newbyteorder("=")


def to_arrow(values: Any, null: float | None = None) -> pa.Array:
    """Returns values (N, ...) as an Arrow array, of vectors where N is not the only dimension."""
    values = np.asarray(values)
    if values.dtype.kind == "S":
        values = np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind not in "fiub":
        return pa.array([str(value) for value in values.reshape(len(values), -1)[:, 0]])
    if values.dtype.kind != "b":
        values = values.astype(_native(values.dtype), copy=False)
    flat = np.ascontiguousarray(values).reshape(-1)
    array = pa.array(flat, mask=None if null is None else flat == null)
    if values.ndim == 1:
        return array
    return pa.FixedSizeListArray.from_arrays(array, int(np.prod(values.shape[1:])))
