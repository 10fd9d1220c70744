"""Mutations of bytes and of structured text, all drawn from one generator."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

# What stands where a number is expected: extremes, other notations, and what is no number.
TOKENS = (
    "", "nan", "inf", "-inf", "-0", "1e38", "3.5e38", "1e-320", "1e999", "9223372036854775808",
    "0x10", "1_000", "1,5", "1.5.2", "true", "NULL", "?", "-", '"', "'", "\\", "\t", " 1 ", "é",
    "\ufeff", "[/red]", "\x1b[31m", "=1+1", "18446744073709551616", "1" * 400,
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, 2**63, 2**64, "", "x", "é\x00", "../..", "[/b]", "1e4",
    [], {}, [[]], [None], {"": 1}, "a" * 5000, [1] * 300,
)  # fmt: skip
MARKS = (b",", b";", b"\t", b"\n", b"\r\n", b'"', b"|", b" ")


def mutate_bytes(data: bytes, generator: np.random.Generator) -> bytes:
    """Returns bytes with one to three faults: flips, cuts, repetitions, zeros, or a part moved."""
    for _ in range(generator.integers(1, 4)):
        data = _damage(data, generator)
    return data


def _damage(data: bytes, generator: np.random.Generator) -> bytes:
    if not data:
        return bytes(generator.integers(0, 256, 8, np.uint8))
    start, stop = sorted(int(place) for place in generator.integers(0, len(data) + 1, 2))
    stop = min(stop, start + 64)
    match generator.integers(0, 6):
        case 0:
            place = int(generator.integers(0, len(data)))
            flipped = data[place] ^ (1 << int(generator.integers(0, 8)))
            return data[:place] + bytes([flipped]) + data[place + 1 :]
        case 1:
            return data[:start]
        case 2:
            return data[:start] + data[stop:]
        case 3:
            return data[:stop] + data[start:stop] + data[stop:]
        case 4:
            return data[:start] + b"\0" * (stop - start) + data[stop:]
        case _:
            return data[:start] + b"\xff" * (stop - start) + data[stop:]


def mutate_text(data: bytes, generator: np.random.Generator) -> bytes:
    """Returns a table's text with a cell replaced, a delimiter exchanged, or its bytes damaged."""
    match generator.integers(0, 4):
        case 0:
            return mutate_bytes(data, generator)
        case 1:
            old, new = generator.choice(len(MARKS), 2, replace=False)
            return data.replace(MARKS[old], MARKS[new])
        case _:
            lines = data.split(b"\n")
            for _ in range(generator.integers(1, 4)):
                line = int(generator.integers(0, len(lines)))
                cells = lines[line].split(b",")
                cell = int(generator.integers(0, len(cells)))
                cells[cell] = TOKENS[generator.integers(0, len(TOKENS))].encode()
                lines[line] = b",".join(cells)
            return b"\n".join(lines)


def mutate_json(data: bytes, generator: np.random.Generator) -> bytes:
    """Returns JSON with one to three values replaced, removed, repeated or added."""
    if generator.random() < 0.2:
        return mutate_bytes(data, generator)
    value = json.loads(data)
    for _ in range(generator.integers(1, 4)):
        value = _changed(value, generator)
    return json.dumps(value).encode()


def _changed(value: Any, generator: np.random.Generator) -> Any:
    """Returns a value with one place in it changed, deeper down more often than not."""
    if isinstance(value, dict) and value and generator.random() < 0.85:
        key = list(value)[generator.integers(0, len(value))]
        action = generator.random()
        if action < 0.1:
            return {name: each for name, each in value.items() if name != key}
        if action < 0.2:
            return {**value, f"{key}2": value[key]}
        return {**value, key: _changed(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.85:
        place = int(generator.integers(0, len(value)))
        action = generator.random()
        if action < 0.1:
            return value[:place] + value[place + 1 :]
        if action < 0.2:
            return [*value, value[place]]
        return [*value[:place], _changed(value[place], generator), *value[place + 1 :]]
    return VALUES[generator.integers(0, len(VALUES))]
