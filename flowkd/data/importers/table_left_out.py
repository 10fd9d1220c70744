"""What an import of a table tells: which rows and columns it did not take, and what was guessed."""

from __future__ import annotations

from collections.abc import Sequence

from flowkd.data.manifest import LeftOut
from flowkd.data.tables.columns import Column, columns_of
from flowkd.data.tables.rows import Rows
from flowkd.data.tables.table import Table

MAX_NAMES = 10


def left_out_of(table: Table, chosen: Sequence[Column], read: Rows) -> list[LeftOut]:
    """Returns the rows and columns of a table that are in no data set, by reason.

    Args:
        table: The table, open.
        chosen: The columns that were read, for whatever use.
        read: What was read.
    """
    fields = {column.field for column in chosen}
    taken = {(column.field, column.element) for column in chosen}
    reasons: dict[str, list[str]] = {}
    for column in columns_of(table):
        if (column.field, column.element) in taken:
            continue
        why = (
            "not chosen" if column.field in fields else table.index.get(column.field, "not chosen")
        )
        reasons.setdefault(why, []).append(column.name or f"column {column.field + 1}")
    found = [left_out_columns(why, names) for why, names in reasons.items()]
    if read.incomplete:
        found.append(
            LeftOut(
                what="rows",
                count=read.incomplete,
                why=f"a missing value in {', '.join(read.incomplete_in[:MAX_NAMES])}",
            )
        )
    return [*table.left_out, *found]


def left_out_columns(why: str, names: Sequence[str]) -> LeftOut:
    """Returns the note on columns that were left out for one reason."""
    return LeftOut(what="columns", count=len(names), why=why, names=list(names[:MAX_NAMES]))


def remarks_of(table: Table, chosen: Sequence[Column], read: Rows) -> list[str]:
    """Returns what whoever trains on the table should know of how it was read."""
    remarks = list(table.remarks)
    fields = {column.field for column in chosen}
    for number, why in table.index.items():
        if number not in fields:
            name = table.fields[number].name or f"column {number + 1}"
            remarks.append(f"Left out `{name}`: {why}.")
    for note in table.left_out:
        remarks.append(
            f"Left out {', '.join(f'`{name}`' for name in note.names)}"
            f"{', ...' if note.count > len(note.names) else ''}: {note.why}."
        )
    if read.incomplete:
        total = read.incomplete + len(read.values)
        remarks.append(
            f"Left out {read.incomplete:,} of {total:,} rows, in which a value is missing: "
            f"{', '.join(f'`{name}`' for name in read.incomplete_in[:MAX_NAMES])}."
        )
    for name in read.counting[:MAX_NAMES]:
        remarks.append(
            f"`{name}` grows by 1 in each row: if it is a number of the row rather than a "
            f"variable, leave it out by `columns`."
        )
    return remarks
