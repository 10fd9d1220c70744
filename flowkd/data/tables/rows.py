"""Reads chosen columns of a table into one array, and names the first value that does not fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from flowkd.data.tables.columns import Column
from flowkd.data.tables.location import explained
from flowkd.data.tables.table import Table
from flowkd.errors import DataError

# Whole numbers from here on are not all different in float64.
EXACT = 2**53
# The most that an import keeps at once, as a multiple of its rows in float64.
COPIES = 2.5


@dataclass(frozen=True)
class Rows:
    """Rows of a table.

    Attributes:
        values: The chosen columns (N, D) in float64, every value finite.
        others: Further columns, unconverted, by name.
        row_numbers: Where each row is in the source (N,), from 0.
        incomplete: How many rows were left out because a value is missing.
        incomplete_in: The names of the columns where one is.
        counting: Names of the columns in which each value is the last plus 1.
    """

    values: np.ndarray
    others: dict[str, pa.ChunkedArray]
    row_numbers: np.ndarray
    incomplete: int
    incomplete_in: list[str]
    counting: list[str]


def read_rows(
    table: Table,
    columns: Sequence[Column],
    others: Sequence[Column] = (),
    *,
    stored: type[np.floating[Any]] = np.float32,
    incomplete: Literal["refuse", "drop"] = "refuse",
) -> Rows:
    """Returns the chosen columns of all rows; of the rest nothing is kept or decoded.

    Args:
        table: The table.
        columns: The columns of `values`.
        others: Further columns, which are no numbers, or names rather than numbers.
        stored: The dtype that every value must be finite in.
        incomplete: Whether a row without a value in one of these columns is refused, or left out.

    Raises:
        DataError: A value is missing, NaN, infinite, or an integer beyond 2**53; the file is
            damaged, has no rows, or others than it promises; the rows do not fit into memory.
    """
    _check_memory(table, len(columns))
    fields = list(dict.fromkeys(column.field for column in [*columns, *others]))
    collected = _Collected(table, columns, others, stored, incomplete)
    with explained(table.where, "a table"):
        for arrays in table.batches(fields, [column.field for column in others]):
            if len(arrays[0]):
                collected.add(dict(zip(fields, arrays, strict=True)))
    return collected.rows()


def _check_memory(table: Table, columns: int) -> None:
    """Refuses rows that cannot fit, before any is read."""
    needed = COPIES * (table.rows or 0) * columns * 8
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise DataError(
            f"{table.where} promises {table.rows:,} rows, of which {columns:,} columns are wanted: "
            f"their import takes about {needed / 2**30:,.1f} GiB of memory, and this machine has "
            f"{there / 2**30:,.1f}; choose fewer columns by `columns`, or import a part of the rows"
        )


class _Collected:
    """What was read so far."""

    def __init__(
        self,
        table: Table,
        columns: Sequence[Column],
        others: Sequence[Column],
        stored: type[np.floating[Any]],
        incomplete: str,
    ) -> None:
        self.table, self.columns, self.others = table, columns, others
        self.stored, self.drop = stored, incomplete == "drop"
        self.seen = self.left_out = 0
        self.parts: list[np.ndarray] = []
        self.row_numbers: list[np.ndarray] = []
        self.other_parts: list[list[pa.Array]] = [[] for _ in others]
        self.lacking = np.zeros(len(columns) + len(others), bool)
        self.counting = np.ones(len(columns), bool)

    def add(self, arrays: Mapping[int, pa.Array]) -> None:
        """Takes a batch, whose arrays are given by field."""
        count = len(next(iter(arrays.values())))
        values = np.empty((count, len(self.columns)))
        for field in dict.fromkeys(column.field for column in self.columns):
            places = [n for n, column in enumerate(self.columns) if column.field == field]
            self._check_integers(arrays[field], self.columns[places[0]])
            block = numbers_of(arrays[field])
            values[:, places] = block[:, [self.columns[n].element or 0 for n in places]]
        others = [arrays[column.field] for column in self.others]
        kept = self._complete(values, others) if self.drop else np.ones(count, bool)
        self._check_finite(values, kept, arrays)
        self.row_numbers.append(self.seen + np.flatnonzero(kept))
        self.seen += count
        for parts, array in zip(self.other_parts, others, strict=True):
            parts.append(array.filter(pa.array(kept)))
        if kept.any():
            values = values if kept.all() else values[kept]
            self._note_counting(values)
            self.parts.append(values)

    def rows(self) -> Rows:
        """Returns what was collected."""
        promised = self.table.rows
        if promised is not None and self.seen != promised:
            raise DataError(
                f"{self.table.where} promises {promised:,} rows; it has {self.seen:,}: it is "
                f"damaged or was cut off; fetch or write it again"
            )
        if not self.parts:
            those = f"rows without a missing value in {self.seen:,}" if self.seen else "rows"
            raise DataError(f"expected {those} of {self.table.where}; it has none")
        values = np.concatenate(self.parts)
        self.parts.clear()
        names = [column.name for column in [*self.columns, *self.others]]
        others = zip(self.others, self.other_parts, strict=True)
        return Rows(
            values,
            {column.name: _typed(column, pa.chunked_array(parts)) for column, parts in others},
            np.concatenate(self.row_numbers),
            self.left_out,
            [name for name, lacks in zip(names, self.lacking, strict=True) if lacks],
            [names[n] for n in np.flatnonzero(self.counting) if len(values) > 2],
        )

    def _check_integers(self, array: pa.Array, column: Column) -> None:
        """Refuses whole numbers that float64 does not tell apart: they are identifiers."""
        flat = array.flatten() if pa.types.is_fixed_size_list(array.type) else array
        if not pa.types.is_integer(flat.type) or flat.type.bit_width < 64:
            return
        plain = flat.drop_null().to_numpy(zero_copy_only=False)
        large = np.flatnonzero((plain >= EXACT) | (plain <= -EXACT))
        if len(large):
            raise DataError(
                f"{self.table.where}, column {column.name!r}: whole numbers such as "
                f"{plain[large[0]]} have more digits than float32 or float64 can hold; if they "
                f"are identifiers, leave the column out by `columns`; from times subtract an offset"
            )

    def _complete(self, values: np.ndarray, others: Sequence[pa.Array]) -> np.ndarray:
        """Returns which rows have a value in every column."""
        lacks = [np.isnan(values)]
        lacks += [array.is_null().to_numpy(zero_copy_only=False)[:, None] for array in others]
        missing = np.concatenate(lacks, axis=1)
        self.lacking |= missing.any(axis=0)
        kept = ~missing.any(axis=1)
        self.left_out += int(np.count_nonzero(~kept))
        return np.asarray(kept)

    def _check_finite(
        self, values: np.ndarray, kept: np.ndarray, arrays: Mapping[int, pa.Array]
    ) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            faulty = ~np.isfinite(values.astype(self.stored, copy=False)) & kept[:, None]
        if not faulty.any():
            return
        place = int(np.flatnonzero(faulty.any(axis=0))[0])
        row, column = int(np.flatnonzero(faulty[:, place])[0]), self.columns[place]
        remedy = "correct or remove them"
        if np.isnan(values[row, place]):
            remedy = "correct them, or leave such rows out by `incomplete: drop`"
        raise DataError(
            f"{self.table.where}, {self.table.place(self.seen + row)}, column {column.name!r}: "
            f"expected a finite {np.dtype(self.stored)}; got "
            f"{self._value(arrays[column.field], row, column)}; "
            f"{np.count_nonzero(faulty[:, place]):,} such rows in {len(values):,}: {remedy}"
        )

    def _value(self, array: pa.Array, row: int, column: Column) -> str:
        value = array[row].as_py()
        if column.element is not None and value is not None:
            value = value[column.element]
        if value is not None:
            return str(value)
        shown = self.table.shown(column.field)
        return "no value" if not shown else f"no value ({shown!r})"

    def _note_counting(self, values: np.ndarray) -> None:
        """Notes which columns count the rows: it cannot be seen any more once they are shuffled."""
        places = np.flatnonzero(self.counting)
        if len(places):
            before = self.parts[-1][-1:] if self.parts else values[:1] - 1
            steps = np.diff(values[:, places], axis=0, prepend=before[:, places])
            self.counting[places] = (steps == 1).all(axis=0)


def _typed(column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Returns texts that are numbers by their column as numbers, whole ones where all are."""
    if column.is_numeric and pa.types.is_string(values.type):
        for kind in (pa.int64(), pa.float64()):
            try:
                return values.cast(kind)
            except pa.ArrowInvalid:
                continue
    return values


def numbers_of(array: pa.Array) -> np.ndarray:
    """Returns the values of a field (N, L) in float64, NaN where there is none."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    length = 1
    if pa.types.is_fixed_size_list(array.type):
        length = array.type.list_size
        if array.null_count:
            row = array.is_null().to_numpy(zero_copy_only=False)
            block = np.full((len(array), length), np.nan)
            block[~row] = numbers_of(array.drop_null())
            return block
        array = array.flatten()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(values, np.float64).reshape(-1, length)
