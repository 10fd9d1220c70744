"""Files that hold several arrays or tables: which is meant, and arrays side by side as columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

from flowkd.data.manifest import LeftOut
from flowkd.data.tables.arrays import ArrayTable, Rows, field_of
from flowkd.errors import DataError

MAX_LISTED = 20

T = TypeVar("T")


def choose(found: Mapping[str, T], key: str, where: str) -> T:
    """Returns what a file has under a key; raises DataError that lists the keys there are."""
    if key not in found:
        raise DataError(
            f"{where} has no {key!r}; expected `key` to be one of: "
            f"{', '.join(list(found)[:MAX_LISTED]) or 'nothing, for it is empty'}"
        )
    return found[key]


def listed(arrays: Mapping[str, Rows]) -> str:
    """Returns the names and shapes of arrays, for a message."""
    shown = [f"{name} {tuple(array.shape)}" for name, array in list(arrays.items())[:MAX_LISTED]]
    more = len(arrays) - len(shown)
    return (", ".join(shown) + (f", and {more} more" if more else "")) or "none"


def group_table(where: str, arrays: Mapping[str, Rows]) -> ArrayTable:
    """Returns the table whose columns are arrays (N,), or vectors (N, L), by name.

    Arrays of a single value are left out.

    Raises:
        DataError: The arrays have different numbers of rows.
    """
    columns = {name: array for name, array in arrays.items() if len(array.shape)}
    single = [name for name in arrays if name not in columns]
    lengths = {array.shape[0] for array in columns.values()}
    if len(lengths) != 1:
        raise DataError(
            f"expected arrays of equal length as columns of {where}; got {listed(arrays)}; choose "
            f"one by `key`"
        )
    fields = [
        field_of(name, np.dtype((array.dtype, array.shape[1:]))) for name, array in columns.items()
    ]
    left = [LeftOut(what="columns", count=len(single), why="a single value", names=single[:10])]
    return ArrayTable(
        where,
        fields,
        lengths.pop(),
        left_out=left if single else [],
        arrays=[(array, None) for array in columns.values()],
    )
