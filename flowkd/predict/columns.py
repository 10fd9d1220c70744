"""Columns by name: rows and tables whose values are named, in any order, as arrays in a model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from flowkd.predict.requests import InvalidRequestError, read_numbers

SHOWN = 20


def is_named(value: Any) -> bool:
    """Tells whether a value of JSON holds names: a mapping, or a list that begins with one."""
    return isinstance(value, dict) or bool(
        isinstance(value, list) and value and isinstance(value[0], dict)
    )


def read_named(value: Any, names: Sequence[str], field: str) -> np.ndarray:
    """Returns rows by name, or columns by name, as an array in the order of the names.

    Args:
        value: `[{"a": 1, "b": 2}, ...]` or `{"a": [1, ...], "b": [2, ...]}`, which give (N, D), or
            one row, `{"a": 1, "b": 2}`, which gives (D,).
        names: The D names that are expected.
        field: What messages call the value.

    Raises:
        InvalidRequestError: A name is missing or unknown, columns are of different lengths, or a
            value is no finite number.

    Examples:
        >>> read_named([{"ra": 1.0, "dec": 2.0}, {"dec": 4.0, "ra": 3.0}], ["ra", "dec"], "x")
        array([[1., 2.],
               [3., 4.]])
        >>> read_named({"dec": [2, 4], "ra": [1, 3]}, ["ra", "dec"], "x").tolist()
        [[1, 2], [3, 4]]
    """
    if not isinstance(value, dict):
        rows = _in_order(value, names, field)
        return _checked(rows, names, lambda row, name: f"{field}[{row}][{name!r}]", field)
    check_names(list(value), names, field)
    columns = [value[name] for name in names]
    lists = [isinstance(column, list) for column in columns]
    if not any(lists):
        return _checked([columns], names, lambda row, name: f"{field}[{name!r}]", field)[0]
    lengths = {len(column) if isinstance(column, list) else 0 for column in columns}
    if not all(lists) or len(lengths) > 1:
        found = ", ".join(
            f"{name}: {len(column) if isinstance(column, list) else 'no list'}"
            for name, column in list(zip(names, columns, strict=True))[:SHOWN]
        )
        raise InvalidRequestError(
            f"{field}: expected a list of equal length of each column; got {found}"
        )
    rows = list(zip(*columns, strict=True))
    return _checked(rows, names, lambda row, name: f"{field}[{name!r}][{row}]", field)


def read_label(value: Any, name: str, field: str) -> Any:
    """Returns the one named value of each row, or of all: `{"kind": 3}` gives 3.

    Raises:
        InvalidRequestError: Another name is there, or this one is not.
    """
    if isinstance(value, dict):
        check_names(list(value), [name], field)
        return value[name]
    return [row for (row,) in _in_order(value, [name], field)]


def stack_columns(
    columns: Mapping[str, np.ndarray], names: Sequence[str], field: str
) -> np.ndarray:
    """Returns columns (N,) of a table as (N, D), in the order of the names.

    Raises:
        InvalidRequestError: A value is no finite float32.
    """
    values = np.stack([columns[name] for name in names], axis=1)
    check_finite(values, names, lambda row, name: f"{field}, {cell(row, name)}")
    return values


def cell(row: int, name: str) -> str:
    """Returns how messages call a value of a table."""
    return f"row {row + 1} (from 1, without a header), column {name!r}"


def check_names(given: Sequence[str], names: Sequence[str], where: str) -> None:
    """Raises InvalidRequestError unless the given names are the expected ones, in any order."""
    counts, wanted = Counter(given), set(names)
    missing = [name for name in names if name not in counts]
    unknown = [name for name in counts if name not in wanted]
    twice = [name for name, count in counts.items() if count > 1]
    found = {"without": missing, "with the unknown": unknown, "with more than one": twice}
    if any(found.values()):
        faults = "; ".join(f"{word} {_listed(those)}" for word, those in found.items() if those)
        raise InvalidRequestError(
            f"{where}: expected the columns {_listed(names)}, in any order; got it {faults}"
        )


def check_finite(
    values: np.ndarray, names: Sequence[str], place: Callable[[int, str], str]
) -> None:
    """Raises InvalidRequestError, with the place, for a value of (N, D) that is no finite float32.

    Args:
        values: Integers or floats.
        names: Names of the columns.
        place: Returns how the message calls the value of a row and a column.
    """
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32))
    if not finite.all():
        bad = np.argwhere(~finite)
        row, column = map(int, bad[0])
        raise InvalidRequestError(
            f"{place(row, names[column])}: expected a finite float32; got {values[row, column]}, "
            f"{len(bad)} such in all"
        )


def _in_order(rows: Sequence[Any], names: Sequence[str], field: str) -> list[tuple[Any, ...]]:
    pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
    try:
        if set(map(len, rows)) == {len(names)}:
            return [pick(row) for row in rows]
    except (KeyError, TypeError, IndexError):
        pass
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidRequestError(
                f"{field}[{number}]: expected a row by name, as the first is; got "
                f"{type(row).__name__}"
            )
        check_names(list(row), names, f"{field}[{number}]")
    raise AssertionError("a row was refused, but for no reason")


def _checked(
    rows: list[Any], names: Sequence[str], place: Callable[[int, str], str], field: str
) -> np.ndarray:
    if not rows:
        return np.empty((0, len(names)))

    def called(index: tuple[int, ...]) -> str:
        return place(index[0], names[index[1]]) if len(index) > 1 else f"{field}{list(index)}"

    values = read_numbers(rows, field, called)
    if values.shape != (len(rows), len(names)):
        raise InvalidRequestError(f"{field}: expected one number of each name; got lists")
    check_finite(values, names, place)
    return values


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
