"""JSON bodies: refused where a key is given twice, or where a boolean stands among numbers.

orjson keeps the last of two equal keys, and numpy takes `true` among numbers for 1; neither says
so. Both are looked for by what costs least: a body that has none of either is only counted through.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import orjson

from cluster.serve.errors import ApiError
from flowkd.predict.columns import is_named


def parse_json(body: bytes) -> Any:
    """Returns a body as plain values, `x` as an array where it is one of numbers.

    Raises:
        ApiError: 400, it is not JSON, which has no NaN, or an object has a key twice.
    """
    try:
        values = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "malformed_body", f"expected JSON: {error}") from error
    if not isinstance(values, dict):
        return values
    few_strings = body.count(b'"') == 2 * _strings(values)
    if not few_strings:
        _check_keys(body)
    # Without these letters there is no true, false or null among the numbers.
    plain = few_strings and b"u" not in body and b"l" not in body
    x = values.get("x")
    if plain and isinstance(x, list) and not is_named(x):
        # Its reader tells what is wrong.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            values["x"] = _array(x)
    return values


def _array(x: list[Any]) -> np.ndarray:
    """Returns nested lists of numbers as an array; sooner where the first says which dtype."""
    first: Any = x
    while isinstance(first, list) and first:
        first = first[0]
    return np.asarray(x, np.float64 if isinstance(first, float) else None)


def _strings(values: dict[str, Any]) -> int:
    """Returns the number of strings that a request usually has: its keys, and those of its rows."""
    count = len(values)
    for value in values.values():
        if isinstance(value, str):
            count += 1
        elif isinstance(value, dict):
            count += len(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            count += sum(len(row) for row in value if isinstance(row, dict))
    return count


def _check_keys(body: bytes) -> None:
    """Raises ApiError 400 where an object has a key twice."""
    try:
        # Numbers are not looked at: Python refuses integers of very many digits.
        json.loads(body, object_pairs_hook=_without_duplicates, parse_int=len, parse_float=len)
    except RecursionError as error:
        raise ApiError(400, "malformed_body", "expected JSON: it is nested too deep") from error


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            message = f"expected each key once; got {key!r} more than once"
            raise ApiError(400, "duplicate_key", message)
        values[key] = value
    return values
