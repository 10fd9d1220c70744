"""Looks at the columns of a table: what is no variable and why, what may be classes or context."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flowkd.data.checks.repeats import DISTINCT, grid_step
from flowkd.data.tables.columns import Column
from flowkd.data.tables.rows import EXACT
from jobs.workflow.look import Look, listed

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
class Sample:
    """The first rows of a table, by the names of its columns."""

    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    texts: dict[str, list[str | None]] = field(default_factory=dict)
    rows: int = 0
    whole: bool = True


def leave_out_columns(look: Look, columns: list[Column], sample: Sample) -> None:
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


def choose_label(look: Look, columns: list[Column], sample: Sample) -> None:
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


def note_values(look: Look, sample: Sample) -> None:
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
