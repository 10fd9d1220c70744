"""What is wrong with a configuration: the key's full path, its line, the expectation, the value."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from flowkd.config.annotations import models_at
from flowkd.config.yaml_file import YamlMapping
from flowkd.names import NAME

SHOWN_FAULTS = 10
LONGEST_KEY = 80


class _Short(reprlib.Repr):
    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to write out thousands of digits.
        long = value.bit_length() > 1000
        return f"a whole number of {value.bit_length()} bits" if long else str(value)


_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 6


def explain_faults(kind: type[BaseModel], error: ValidationError, values: Any) -> list[str]:
    """Returns a line for each fault, in the order of their keys, of the first `SHOWN_FAULTS`.

    A last line tells how many more there are, if any.

    Args:
        kind: What the values should be.
        error: As pydantic raised it.
        values: What was validated; of a file's, the lines are told.
    """
    found: dict[str, list[str]] = {}
    endings: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        *parents, last = keys = place(fault, values) or [""]
        path = ".".join(map(_key, keys)) or "(top level)"
        said = _expectation(kind, fault)
        if said not in found.setdefault(path, []):
            found[path].append(said)
        endings[path] = _ending(fault, _line(parents, last, values))
    lines = [f"{path}: {', or '.join(said)}{endings[path]}" for path, said in found.items()]
    more = len(lines) - SHOWN_FAULTS
    return [*lines[:SHOWN_FAULTS], f"... and {more} more faults"] if more > 1 else lines


def _key(key: int | str) -> str:
    return key if isinstance(key, str) and len(key) <= LONGEST_KEY else shown(key)


def reason(error: Exception) -> str:
    """Returns the message of an error; pydantic's in our words, on one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(explain_faults(BaseModel, error, None))


def place(fault: ErrorDetails, values: Any) -> list[int | str]:
    """Returns a fault's keys in the values: pydantic's location without the types of unions."""
    keys: list[int | str] = []
    location = fault["loc"]
    for number, part in enumerate(location, 1):
        missing = fault["type"] == "missing" and number == len(location)
        try:
            found = None if missing or values is None else values[part]
        except (KeyError, IndexError, TypeError):
            continue
        keys.append(part)
        values = found
    return keys


def shown(value: Any) -> str:
    """Returns a value as messages tell it: short, and never a memory address.

    >>> shown("a" * 100)[:3], len(shown("a" * 100)), shown(object())
    ("'aa", 80, 'a value of type object')
    """
    if isinstance(value, BaseModel):
        return f"{type(value).__name__}({_SHORT.repr(value.model_dump())[1:-1]})"
    if isinstance(value, YamlMapping):
        value = dict(value)
    text = _SHORT.repr(value)
    return f"a value of type {type(value).__name__}" if " at 0x" in text else text


def _expectation(kind: type[BaseModel], fault: ErrorDetails) -> str:
    context = fault.get("ctx", {})
    if fault["type"] == "extra_forbidden":
        return f"unknown key; {_suggestion(kind, fault)}"
    if fault["type"] == "missing":
        return "missing; add it"
    if fault["type"] == "union_tag_not_found":
        return f"expected a `kind`, one of {_tags(kind, fault)}; got none"
    if fault["type"] == "union_tag_invalid":
        return f"expected one of {context['expected_tags']}".replace("'", "") + " as its `kind`"
    if fault["type"] == "string_pattern_mismatch" and context["pattern"] == NAME:
        return "expected letters, digits, '.', '_' and '-', the first a letter or a digit"
    if fault["type"] == "string_type" and not isinstance(fault["input"], dict | list | None):
        return "expected text, in quotes where it reads as a number, a date or a truth value"
    return fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")


def _ending(fault: ErrorDetails, line: int | None) -> str:
    """Returns the value that came, where the message does not tell it, and its line."""
    where = f" (line {line})" if line else ""
    if fault["type"] in ("extra_forbidden", "missing", "union_tag_not_found"):
        return where
    if fault["type"] == "union_tag_invalid":
        return f"; got {shown(fault['ctx']['tag'])}{where}"
    if fault["type"] == "value_error" and "got " in fault["msg"]:
        return where
    return f"; got {shown(fault['input'])}{where}"


def _suggestion(kind: type[BaseModel], fault: ErrorDetails) -> str:
    """Returns the keys that there are at the place of an unknown one, the closest one first."""
    *parents, key = fault["loc"]
    known = [name for model in models_at(kind, parents) for name in model.model_fields]
    if not known:
        return "remove it or correct its name"
    begin_so = [name for name in known if name.startswith(f"{key}_")]
    close = begin_so or get_close_matches(str(key), known, 1)
    meant = f"did you mean {close[0]}? " if close else ""
    return f"{meant}expected one of {', '.join(known)}"


def _tags(kind: type[BaseModel], fault: ErrorDetails) -> str:
    found = models_at(kind, fault["loc"])
    return ", ".join(str(model.model_fields["kind"].default) for model in found)


def _line(parents: Sequence[int | str], last: int | str, values: Any) -> int | None:
    """Returns the line of a key, or else of the closest one around it."""
    lines = list(_lines([*parents, last], values))
    return next((line for line in reversed(lines) if line), None)


def _lines(keys: Sequence[int | str], values: Any) -> Iterator[int | None]:
    for key in keys:
        yield values.lines.get(key) if isinstance(values, YamlMapping) else None
        try:
            values = values[key]
        except (KeyError, IndexError, TypeError):
            return
