"""Looks at a table: which columns are variables, which are not and why, and what may be context."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from flowkd.config import parse_config
from flowkd.data.checks.options import ColumnOptions, Remedies
from flowkd.data.checks.remarks import remarks_on
from flowkd.data.checks.repeats import DISTINCT, grid_step
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
from flowkd.data.tables.rows import EXACT, numbers_of
from flowkd.data.tables.table import ReadOptions, Table
from flowkd.data.tables.text import TextTable
from flowkd.errors import DataError
from jobs.workflow.look import SAMPLE_ROWS, Look, listed

IDENTIFIER = re.compile(r"(^|[_ .-])(id|idx|index|uuid|guid|key|row|no|nr|number)$", re.IGNORECASE)
LABEL = re.compile(r"^(label|labels|class|class_?id|species|category)$", re.IGNORECASE)
CONTEXT = re.compile(
    r"^(target|y|output|outcome|response|quality|score|energy|time|t|date|year|age|temperature|"
    r"redshift|z_?phot)$",
    re.IGNORECASE,
)
MOST_CLASSES, LEAST_OF_CLASS = 20, 10
MOST_MISSING = 0.5
FEW = 50  # rows, below which nothing is told of how values repeat
# Of fewer rows, a column whose range has fewer steps than it has rows counts as one of steps, too.
FEW_VALUES = 2000


@dataclass
class _Sample:
    """The first rows of a table, by the names of its columns."""

    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, list[str | None]] = field(default_factory=dict)
    rows: int = 0
    whole: bool = True


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
    _leave_out(look, chosen, sample)
    _label(look, chosen, sample)
    _values(look, sample)
    _finish(look, sample, index, source)
    return look


def _check_named(given: TableConfig, table: Table, columns: list[Column]) -> None:
    """Raises DataError for a column that the user names and the table does not have as needed."""
    context = given.context_columns or []
    aside = [name for name in (given.label_column, given.group) if name is not None]
    named(table, columns, [*(given.columns or []), *aside, *given.drop])
    check_numeric(table, named(table, columns, context))


def _read(table: Table, columns: list[Column]) -> _Sample:
    fields = list(dict.fromkeys(column.field for column in columns))
    texts = [number for number in fields if _is_text(table.fields[number].type)]
    wanted = [
        number
        for number in fields
        if number in texts or any(c.field == number and c.is_numeric for c in columns)
    ]
    parts: dict[int, list[pa.Array]] = {number: [] for number in wanted}
    sample = _Sample()
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


def _rows_of_text(source: str, sample: _Sample) -> int | None:
    """Returns how many rows a text has: counted if it was read whole, else by its first lines."""
    if sample.whole:
        return sample.rows
    if not os.path.isfile(source) or source.lower().endswith((".gz", ".bz2", ".xz", ".zst")):
        return None
    with open(source, "rb") as file:
        lines = file.read(2**20).splitlines()[:-1]
    mean = sum(len(line) + 1 for line in lines) / max(1, len(lines))
    return int(os.path.getsize(source) / mean) if lines else None


def _leave_out(look: Look, columns: list[Column], sample: _Sample) -> None:
    """Notes the columns that are no variables: of no numbers, constant, copies, identifiers."""
    seen: dict[bytes, str] = {}
    for column in columns:
        name = column.name
        if name in sample.texts:
            continue
        values = sample.numbers.get(name)
        if values is None:
            look.dropped[name] = f"{column.described}, not numbers"
            continue
        there = values[~np.isnan(values)]
        why = _no_variable(name, values, there, seen)
        if why:
            look.dropped[name] = why
            if why.startswith("an identifier") and len(np.unique(there)) < len(there):
                look.hints.append((f"group: {name}", "rows of one value stay in one split"))
        seen.setdefault(values.tobytes(), name)


def _no_variable(
    name: str, values: np.ndarray, there: np.ndarray, seen: dict[bytes, str]
) -> str | None:
    if len(there) < (1 - MOST_MISSING) * len(values):
        return f"{1 - len(there) / len(values):.0%} of its values are missing"
    if np.ptp(there) == 0:
        return f"constant, {there[0]:g}"
    if values.tobytes() in seen:
        return f"equals {seen[values.tobytes()]}"
    whole = bool((there == np.rint(there)).all())
    if whole and len(there) > 2 and bool((np.diff(values) == 1).all()):
        return "counts the rows"
    if whole and np.abs(there).max() >= EXACT:
        return "an identifier: more digits than a number can hold"
    if whole and IDENTIFIER.search(name):
        return "an identifier, by its name"
    if not np.isfinite(there.astype(np.float32)).all():
        return "has values that are not finite in float32"
    return None


def _label(look: Look, columns: list[Column], sample: _Sample) -> None:
    """Chooses the column of classes, if there is one, and leaves the other texts out."""
    options = look.data
    assert isinstance(options, dict)
    found = {name: Counter(values) for name, values in sample.texts.items()}
    for column in columns:
        values = sample.numbers.get(column.name)
        if values is None or column.name in look.dropped or not LABEL.match(column.name):
            continue
        there = values[~np.isnan(values)]
        if (there == np.rint(there)).all():
            found[column.name] = Counter(f"{each:g}" for each in there)
    classes = {name: counts for name, counts in found.items() if _are_classes(counts, sample.rows)}
    set_already = options.get("label_column") or options.get("context_columns")
    order = sorted(classes, key=lambda name: not LABEL.match(name))
    chosen = None if set_already or not order else order[0]
    if chosen is not None:
        counts = classes[chosen]
        options["label_column"] = chosen
        look.classes = len(counts)
        look.why["label_column"] = (
            f"{len(counts)} classes: {listed(sorted(map(str, counts)))}; the flow learns p(row | "
            f"class). To learn all as one, move it to drop"
        )
    for name in sample.texts:
        if name in (chosen, options.get("label_column")):
            continue
        look.dropped[name] = _text(name, found[name], look)
        if name in classes:
            look.hints.append((f"label_column: {name}", f"{len(classes[name])} classes, instead"))


def _are_classes(counts: Counter[Any], rows: int) -> bool:
    return (
        None not in counts
        and 2 <= len(counts) <= min(MOST_CLASSES, rows / 10)
        and min(counts.values()) >= LEAST_OF_CLASS
    )


def _text(name: str, counts: Counter[str | None], look: Look) -> str:
    """Returns why a column of texts is left out, with a hint where it is numbers but for marks."""
    texts = [text for text in counts if text is not None]
    marks = [text for text in texts if not _is_number(text)]
    if texts and len(marks) <= 3 and sum(counts[each] for each in marks) < 0.1 * counts.total():
        quoted = ", ".join(f'"{each}"' for each in marks)
        look.hints.append(
            (f"missing_texts: [{quoted}]", f"{name} is numbers but for these: with it, take {name} "
             "from drop, and set incomplete: drop")
        )  # fmt: skip
        return f"text, for it has cells such as {marks[0]!r}" if marks else "text"
    return f"text of {len(texts):,} different values"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _values(look: Look, sample: _Sample) -> None:
    """Notes what the variables hold: gaps, steps, and what may be context."""
    options = look.data
    assert isinstance(options, dict)
    steps = dict(options.get("dequantize", {}))
    missing = 0
    taken = {options.get("label_column"), *options.get("context_columns", ())}
    for name, values in sample.numbers.items():
        if name in look.dropped or name in taken:
            continue
        there = values[~np.isnan(values)]
        missing += len(values) - len(there)
        step = None
        different = np.unique(there)
        if len(there) >= FEW and len(different) < DISTINCT * len(there):
            step = grid_step(different)
        elif FEW <= len(there) < FEW_VALUES and len(different) < len(there) / 2:
            step = grid_step(different)
            if step is not None and np.ptp(there) / step > len(there):
                step = None
        if step is not None and not sample.whole:  # of rows that were not seen, too
            step = 1 if step.is_integer() else None
        if step is not None and name not in steps:
            steps[name] = int(step) if float(step).is_integer() else step
        if CONTEXT.match(name):
            look.hints.append((f"context_columns: [{name}]", f"p(the others | {name})"))
    if steps:
        options["dequantize"] = steps
        look.why["dequantize"] = "few values: noise as wide as their steps is added"
    if missing and "incomplete" not in options:
        options["incomplete"] = "drop"
        look.why["incomplete"] = f"{missing:,} values are missing: such rows are left out"


def _finish(look: Look, sample: _Sample, index: dict[str, str], source: str) -> None:
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
