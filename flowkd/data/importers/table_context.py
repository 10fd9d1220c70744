"""The context of a table's rows: vectors of some columns, or the categories of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flowkd.data.checks.remarks import remarks_on_context
from flowkd.data.context_statistics import ColumnStatistics, check_spread
from flowkd.errors import DataError


@dataclass(frozen=True)
class TableContext:
    """What the rows of a table are conditioned on.

    Attributes:
        values: (N, c) float32 vectors, (N,) int64 classes, or None.
        columns: Names of the columns of the vectors, or of the one of the classes.
        class_names: Names of the classes, the first for class 0.
        remarks: Warnings to whoever trains on it, a sentence each.
    """

    values: np.ndarray | None = None
    columns: list[str] | None = None
    class_names: list[str] | None = None
    remarks: tuple[str, ...] = ()

    def of(self, rows: np.ndarray) -> np.ndarray | None:
        """Returns the context of the rows at these indices."""
        return None if self.values is None else self.values[rows]


def vector_context(
    exact: np.ndarray,
    columns: Sequence[str],
    train: np.ndarray,
    constant: Literal["refuse", "drop"],
    path: str,
) -> TableContext:
    """Returns context vectors whose columns vary over the train split.

    Args:
        exact: The columns, (N, c), in float64.
        columns: Their names.
        train: Indices of the train rows.
        constant: Whether to refuse, or to drop, a column that is constant over them.
        path: What messages call the table.

    Raises:
        DataError: A constant column that is to be refused, or no other; values that float32 can
            hardly tell apart.
    """
    known = exact[train]
    kept = [number for number in range(len(columns)) if np.ptp(known[:, number]) > 0]
    dropped = [name for number, name in enumerate(columns) if number not in kept]
    if constant == "refuse" or not kept:
        kept = list(range(len(columns)))  # the check names those that are constant
    seen = ColumnStatistics(len(kept))
    seen.add(known[:, kept])
    names = [columns[number] for number in kept]
    check_spread(seen, names, path)
    quoted = ", ".join(f"`{name}`" for name in dropped)
    remarks = [f"Context constant over the train split and dropped: {quoted}."] if dropped else []
    remarks += remarks_on_context(known[:, kept], names)
    return TableContext(exact[:, kept].astype(np.float32), names, None, tuple(remarks))


def class_context(
    table: pa.Table, name: str, splits: Mapping[str, np.ndarray], path: str
) -> TableContext:
    """Returns the classes of rows by a column of categories: strings, whole numbers or booleans.

    The categories are in order: numbers by size, strings by alphabet.

    Args:
        table: The table.
        name: Name of the column.
        splits: Indices of the rows of each split.
        path: What messages call the table.

    Raises:
        DataError: No such column; values that are no categories, are missing, or are nearly as
            many as rows.
    """
    if table.column_names.count(name) != 1:
        known = ", ".join(table.column_names)
        raise DataError(f"{path}: expected one column {name!r} of labels; it has {known}")
    column = _categories(table[name], name, path)
    _check_present(column, name, path)
    found = sorted(pc.unique(column).to_pylist())
    if len(found) < 2 or 2 * len(found) > len(column):
        raise DataError(
            f"{path}, label_column {name!r}: expected at least 2 categories, of 2 rows each on "
            f"average; got {len(found):,} in {len(column):,} rows: leave label_column out"
        )
    codes = pc.index_in(column, value_set=pa.array(found, column.type))
    classes = codes.to_numpy().astype(np.int64)
    names = [str(value).lower() if isinstance(value, bool) else str(value) for value in found]
    unseen = np.flatnonzero(np.bincount(classes[splits["train"]], minlength=len(names)) == 0)
    quoted = ", ".join(f"`{names[number]}`" for number in unseen[:10])
    remarks: tuple[str, ...] = ()
    if len(unseen):
        remarks = (
            f"{len(unseen):,} categories of `{name}` have no train rows, so that a flow learns "
            f"nothing of them: {quoted}{', ...' if len(unseen) > 10 else ''}.",
        )
    return TableContext(classes, [name], names, remarks)


def _categories(column: pa.ChunkedArray, name: str, path: str) -> pa.ChunkedArray:
    """Returns a column of strings, whole numbers or booleans, whatever encodes it."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (text or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DataError(
            f"{path}, label_column {name!r}: expected strings, whole numbers or booleans; got "
            f"{kind}: a number to condition on goes to context_columns"
        )
    return column


def _check_present(column: pa.ChunkedArray, name: str, path: str) -> None:
    missing = pc.is_null(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        missing = pc.or_(missing, pc.fill_null(pc.equal(column, ""), True))
    rows = np.flatnonzero(missing.to_numpy())
    if len(rows):
        raise DataError(
            f"{path}, row {int(rows[0]) + 1} (from 1, without a header), label_column {name!r}: "
            f"expected a category; got no value; {len(rows)} such rows: fill or remove them"
        )
