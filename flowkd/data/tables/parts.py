"""A table in several files of one format, as Spark and Dask write it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pyarrow as pa

from flowkd.data.tables.table import Table
from flowkd.errors import DataError

Opener = Callable[[], AbstractContextManager[Table]]


@dataclass
class Parts(Table):
    """The rows of several tables with the same columns, one table after the other.

    One file is open at a time: there may be thousands.
    """

    openers: Sequence[Opener] = ()

    def batches(
        self, numbers: Sequence[int], texts: Sequence[int] = ()
    ) -> Iterator[list[pa.Array]]:
        """As Table."""
        kinds = [None if n in texts else self.fields[n].type for n in numbers]
        for opener in self.openers:
            with opener() as part:
                places = [self._place(part, number) for number in numbers]
                wanted = [self._place(part, number) for number in texts]
                for arrays in part.batches(places, wanted):
                    yield [
                        array if kind is None or array.type == kind else array.cast(kind)
                        for kind, array in zip(kinds, arrays, strict=True)
                    ]

    def place(self, row: int) -> str:
        """Returns what messages call a row."""
        return f"row {row + 1:,} (from 1, over all {len(self.openers)} files, without headers)"

    def _place(self, part: Table, number: int) -> int:
        """Returns the position in one part of a field of them all."""
        name = self.fields[number].name
        if part.fields[number].name == name:
            return number
        return next(place for place, field in enumerate(part.fields) if field.name == name)


def joined(where: str, openers: Sequence[Opener]) -> Table:
    """Returns one table of several, each of which is opened and closed.

    Raises:
        DataError: Their columns are not of the same names.
    """
    tables = []
    for opener in openers:
        with opener() as table:
            tables.append(table)
            _check_names(tables[0], table)
    first = tables[0]
    counts = [table.rows for table in tables if table.rows is not None]
    return Parts(
        where,
        list(first.fields),
        sum(counts) if len(counts) == len(tables) else None,
        dict(first.index),
        list(dict.fromkeys(remark for table in tables for remark in table.remarks)),
        list(first.left_out),
        openers,
    )


def _check_names(first: Table, other: Table) -> None:
    expected, found = (sorted(field.name for field in table.fields) for table in (first, other))
    if found != expected:
        differ = sorted(set(expected) ^ set(found)) or found
        raise DataError(
            f"expected the columns of {first.where} in {other.where}; they differ by "
            f"{', '.join(map(repr, differ[:10]))}"
        )
