"""A table in several files of one format, as Spark and Dask write it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flowkd.data.tables.table import Table
from flowkd.errors import DataError


@dataclass
class Parts(Table):
    """The rows of several tables with the same columns, one table after the other."""

    parts: Sequence[Table] = ()

    def batches(
        self, numbers: Sequence[int], texts: Sequence[int] = ()
    ) -> Iterator[list[pa.Array]]:
        """As Table."""
        for part in self.parts:
            places = [_place(part, self.fields, number) for number in numbers]
            wanted = [_place(part, self.fields, number) for number in texts]
            for arrays in part.batches(places, wanted):
                yield [
                    array.cast(self.fields[n].type, safe=False) if n not in texts else array
                    for n, array in zip(numbers, arrays, strict=True)
                ]

    def place(self, row: int) -> str:
        """Returns what messages call a row."""
        return f"row {row + 1:,} (from 1, over all {len(self.parts)} files, without headers)"

    def shown(self, number: int) -> str | None:
        """Returns how a missing value is written in the first file that has one."""
        found = (part.shown(_place(part, self.fields, number)) for part in self.parts)
        return next((text for text in found if text), None)


def joined(where: str, parts: Sequence[Table]) -> Table:
    """Returns one table of several.

    Raises:
        DataError: Their columns are not of the same names and kinds.
    """
    first = parts[0]
    names = sorted(field.name for field in first.fields)
    for part in parts[1:]:
        found = sorted(field.name for field in part.fields)
        if found != names:
            other = sorted(set(names) ^ set(found)) or found
            raise DataError(
                f"expected the columns of {first.where} in {part.where}; they differ by "
                f"{', '.join(map(repr, other[:10]))}"
            )
    rows = [part.rows for part in parts]
    known = [count for count in rows if count is not None]
    remarks = list(dict.fromkeys(remark for part in parts for remark in part.remarks))
    return Parts(
        where,
        list(first.fields),
        sum(known) if len(known) == len(rows) else None,
        dict(first.index),
        remarks,
        list(first.left_out),
        parts,
    )


def _place(part: Table, fields: Sequence[pa.Field], number: int) -> int:
    """Returns the position in one part of a field of them all."""
    name = fields[number].name
    if part.fields[number].name == name:
        return number
    return next(place for place, field in enumerate(part.fields) if field.name == name)
