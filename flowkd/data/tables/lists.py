"""Lists of variable length that all have one length: how pandas stores embeddings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from flowkd.data.tables.columns import is_numeric
from flowkd.data.tables.table import Table
from flowkd.errors import DataError


@dataclass
class OfFixedLength(Table):
    """A table whose lists of numbers are vectors of the length that the first row has."""

    table: Table | None = None

    def batches(
        self, numbers: Sequence[int], texts: Sequence[int] = ()
    ) -> Iterator[list[pa.Array]]:
        """As Table."""
        assert self.table is not None
        row = 0
        for arrays in self.table.batches(numbers, texts):
            yield [
                self._vectors(array, number, row)
                for number, array in zip(numbers, arrays, strict=True)
            ]
            row += len(arrays[0]) if arrays else 0

    def _vectors(self, array: pa.Array, number: int, first: int) -> pa.Array:
        kind = self.fields[number].type
        if isinstance(array, pa.ExtensionArray):
            array = array.storage
        if not pa.types.is_fixed_size_list(kind) or array.type == kind:
            return array
        lengths = pc.fill_null(pc.list_value_length(array), kind.list_size)
        odd = pc.index(pc.not_equal(lengths, kind.list_size), True).as_py()
        if odd >= 0:
            raise DataError(
                f"{self.where}, {self.place(first + odd)}, column {self.fields[number].name!r}: "
                f"expected a list of {kind.list_size} values, as in the first row; got "
                f"{lengths[odd].as_py()}"
            )
        return array.cast(kind)


def with_lengths(table: Table) -> Table:
    """Returns the table with vectors of fixed length in place of lists and tensors of numbers.

    The length is that of a list in the first rows; where they have none, the field stays a list.
    """
    fields = [_vector(table, number) for number in range(len(table.fields))]
    if fields == table.fields:
        return table
    return OfFixedLength(
        table.where, fields, table.rows, table.index, table.remarks, table.left_out, table
    )


def _vector(table: Table, number: int) -> pa.Field:
    field = table.fields[number]
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    types = pa.types
    if types.is_fixed_size_list(kind):
        return field.with_type(kind)
    if not (types.is_list(kind) or types.is_large_list(kind)) or not is_numeric(kind.value_type):
        return field
    arrays = next(table.batches([number]), None)
    length = None if arrays is None else pc.max(pc.list_value_length(arrays[0])).as_py()
    if not length:
        return field
    return field.with_type(pa.list_(kind.value_type, length))
