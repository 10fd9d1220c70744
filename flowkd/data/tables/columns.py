"""The columns of a table: its fields, and each element of those that are vectors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa

from flowkd.data.tables.table import ELEMENT, KIND, Table
from flowkd.errors import DataError

MAX_NAMES = 50


@dataclass(frozen=True)
class Column:
    """One column of numbers or of something else.

    Attributes:
        name: Its name; element 2 of the vectors `e` is called `e_2`.
        field: Position of its field in the table.
        element: Its place in the vector of each row; None where the field is no vector.
        kind: Type of its values.
        described: That type in words.
    """

    name: str
    field: int
    element: int | None
    kind: pa.DataType
    described: str

    @property
    def is_numeric(self) -> bool:
        """Whether its values are numbers."""
        return is_numeric(self.kind)


def is_numeric(kind: pa.DataType) -> bool:
    """Tells whether values of a type are numbers; truth values and times are not."""
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)


def columns_of(table: Table) -> list[Column]:
    """Returns all columns of a table, those that are indices too.

    Raises:
        DataError: The table has none.
    """
    columns = []
    for number, field in enumerate(table.fields):
        kind, metadata = field.type, field.metadata or {}
        described = metadata.get(KIND, str(kind).encode()).decode()
        if pa.types.is_fixed_size_list(kind) and is_numeric(kind.value_type):
            stem = metadata.get(ELEMENT, f"{field.name}_".encode()).decode()
            columns += [
                Column(f"{stem}{element}", number, element, kind.value_type, described)
                for element in range(kind.list_size)
            ]
        else:
            columns.append(Column(field.name, number, None, kind, described))
    if not columns:
        raise DataError(f"expected columns in {table.where}; it has none")
    return columns


def variables(table: Table, columns: Sequence[Column], others: Collection[str]) -> list[Column]:
    """Returns the columns that are x where the user names none: no index, and none of the others.

    Args:
        table: The table.
        columns: All its columns.
        others: Names of columns, or of vectors, that are used otherwise.

    Raises:
        DataError: None is left, or one of them has no name.
    """
    found = [
        column
        for column in columns
        if column.field not in table.index
        and column.name not in others
        and table.fields[column.field].name not in others
    ]
    if not found:
        besides = [*others, *(table.fields[number].name for number in table.index)]
        raise DataError(f"{table.where} has no columns for x besides {besides}")
    nameless = [column.field + 1 for column in found if not column.name.strip()]
    if nameless:
        raise DataError(
            f"{table.where} has columns without a name: number "
            f"{', '.join(map(str, nameless[:MAX_NAMES]))} (from 1); name them, or choose others by "
            f"`columns`"
        )
    return found


def named(table: Table, columns: Sequence[Column], names: Sequence[str]) -> list[Column]:
    """Returns the columns of these names, in their order; a vector's name stands for all of it.

    Raises:
        DataError: A name is unknown, or is there or chosen more than once.
    """
    present = Counter(column.name for column in columns)
    vectors = {
        table.fields[column.field].name for column in columns if column.element is not None
    } - set(present)
    unknown = [name for name in names if name not in present and name not in vectors]
    if unknown:
        known = [column.name for column in columns]
        rest = f", and {len(known) - MAX_NAMES:,} more" if len(known) > MAX_NAMES else ""
        raise DataError(
            f"{table.where} has no column {', '.join(unknown)}; expected some of: "
            f"{', '.join(known[:MAX_NAMES])}{rest}"
        )
    chosen: list[Column] = []
    for name in names:
        if name in vectors:
            chosen += [c for c in columns if table.fields[c.field].name == name]
        else:
            chosen += [c for c in columns if c.name == name]
    check_once(table, chosen)
    return chosen


def check_once(table: Table, chosen: Sequence[Column]) -> None:
    """Raises DataError where a name occurs twice among chosen columns."""
    for name, count in Counter(column.name for column in chosen).items():
        if count > 1:
            raise DataError(
                f"expected each column of {table.where} once; got more than one {name!r}"
            )


def check_numeric(table: Table, chosen: Sequence[Column]) -> None:
    """Raises DataError where a chosen column does not hold numbers."""
    faulty = [column for column in chosen if not column.is_numeric]
    if faulty:
        found = ", ".join(f"{column.name} ({column.described})" for column in faulty[:MAX_NAMES])
        raise DataError(
            f"{table.where} has columns that are not numeric: {found}; choose others by `columns`"
        )
