"""Looks at a table: which columns are variables, which are not and why, and what may be context."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pyarrow as pa

from flowkd.config import parse_config
from flowkd.data.checks.options import ColumnOptions, Remedies
from flowkd.data.checks.remarks import remarks_on
from flowkd.data.importers.table import TableConfig
from flowkd.data.tables.columns import (
    Column,
    check_numeric,
    check_once,
    columns_of,
    named,
    variables,
)
from flowkd.data.tables.opening import open_table
from flowkd.data.tables.rows import numbers_of
from flowkd.data.tables.table import ReadOptions, Table
from flowkd.data.tables.text import TextTable
from flowkd.errors import DataError
from jobs.workflow.look import SAMPLE_ROWS, Look, listed
from jobs.workflow.look_columns import Sample, choose_label, leave_out_columns, note_values


def look_at_table(source: str, name: str, options: dict[str, Any]) -> Look:
    """Returns what an import of a table should say.

    Args:
        source: As the import takes it.
        name: Of the data set.
        options: Keys of the import that the user has set.

    Raises:
        ConfigError: A key that there is not, or not this value of it.
        DataError: It is no table, or says too little of itself: the message names the option.
    """
    values = {"name": name, "source": source, **options}
    given = parse_config(TableConfig, values, source="what is set")
    read = ReadOptions(
        given.key, given.delimiter, given.decimal, given.header, tuple(given.missing_texts)
    )
    with open_table(source, read) as table:
        if isinstance(table, TextTable):
            table.long_integers = "round"  # identifiers, which are left out below
        columns = columns_of(table)
        _check_named(given, table, columns)
        # Raises for columns without a name; the index is left out by itself.
        chosen = variables(table, columns, [])
        check_once(table, chosen)
        sample = _read(table, chosen)
        index = {table.fields[number].name or f"column {number + 1}": why
                 for number, why in table.index.items()}  # fmt: skip
        rows = table.rows if table.rows is not None else _rows_of_text(source, sample)
    look = Look({"kind": "table", "name": name, "source": source, **options}, rows=rows)
    leave_out_columns(look, chosen, sample)
    choose_label(look, chosen, sample)
    note_values(look, sample)
    _finish(look, sample, index, source)
    return look


def _check_named(given: TableConfig, table: Table, columns: list[Column]) -> None:
    """Raises DataError for a column that the user names and the table does not have as needed."""
    context = given.context_columns or []
    aside = [name for name in (given.label_column, given.group) if name is not None]
    named(table, columns, [*(given.columns or []), *aside, *given.drop])
    check_numeric(table, named(table, columns, context))


def _read(table: Table, columns: list[Column]) -> Sample:
    fields = list(dict.fromkeys(column.field for column in columns))
    texts = [number for number in fields if _is_text(table.fields[number].type)]
    wanted = [
        number
        for number in fields
        if number in texts or any(c.field == number and c.is_numeric for c in columns)
    ]
    parts: dict[int, list[pa.Array]] = {number: [] for number in wanted}
    sample = Sample()
    for arrays in table.batches(wanted, texts) if wanted else ():
        if sample.rows >= SAMPLE_ROWS:
            sample.whole = False
            break
        for number, array in zip(wanted, arrays, strict=True):
            parts[number].append(array)
        sample.rows += len(arrays[0])
    if sample.rows == 0:
        raise DataError(f"expected rows of numbers or categories in {table.where}; it has none")
    for column in columns:
        if column.field not in parts:
            continue
        if column.field in texts:
            found = [value for part in parts[column.field] for value in part.to_pylist()]
            sample.texts[column.name] = [None if v is None else str(v) for v in found]
        else:
            blocks = [numbers_of(part) for part in parts[column.field]]
            sample.numbers[column.name] = np.concatenate(blocks)[:, column.element or 0]
    return sample


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind)
                or pa.types.is_boolean(kind))  # fmt: skip


def _rows_of_text(source: str, sample: Sample) -> int | None:
    """Returns how many rows a text has: counted if it was read whole, else by its first lines."""
    if sample.whole:
        return sample.rows
    if not os.path.isfile(source) or source.lower().endswith((".gz", ".bz2", ".xz", ".zst")):
        return None
    with open(source, "rb") as file:
        lines = file.read(2**20).splitlines()[:-1]
    mean = sum(len(line) + 1 for line in lines) / max(1, len(lines))
    return int(os.path.getsize(source) / mean) if lines else None


def _finish(look: Look, sample: Sample, index: dict[str, str], source: str) -> None:
    """Sets what is left out, checks that something is left, and tells of the rest."""
    options = look.data
    assert isinstance(options, dict)
    taken = {options.get("label_column"), *options.get("context_columns", ())}
    names = [name for name in sample.numbers if name not in look.dropped and name not in taken]
    names = [name for name in names if name not in options.get("drop", ())]
    if len(names) < 2:
        left = "".join(f"; {name}: {why}" for name, why in look.dropped.items())
        raise DataError(
            f"expected at least 2 columns of numbers that vary in {source}; got "
            f"{', '.join(names) or 'none'}{left}"
        )
    options.setdefault("drop", [])
    options["drop"] = list(dict.fromkeys([*options["drop"], *look.dropped]))
    if not options["drop"]:
        del options["drop"]
    x = np.stack([sample.numbers[name] for name in names], axis=1)
    x = x[~np.isnan(x).any(axis=1)]
    stepped = [name for name in names if name not in options.get("dequantize", {})]
    if len(x) and stepped:
        kept = [names.index(name) for name in stepped]
        told = Remedies(ColumnOptions(), told="words")
        look.remarks = remarks_on(x[:, kept], stepped, [], remedies=told)
    count = f"{look.rows:,}" if look.rows is not None else f"more than {sample.rows:,}"
    about = "" if sample.whole or look.rows is None else "about "
    look.about = f"{about}{count} rows of {len(names)} columns: {listed(names)}"
    for name, why in index.items():
        look.remarks.append(f"Left out by itself: `{name}`, {why}.")
    look.event_shape = (len(names),)
