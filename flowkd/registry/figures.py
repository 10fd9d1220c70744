"""Figures in words: as many digits as they are worth, and no lists or mappings of Python's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

BITS, ERROR = "bits_per_dim", "standard_error"


def figures_in_words(figures: Mapping[str, Any]) -> dict[str, str]:
    """Returns figures in words by name; those of a mapping have its name before their own.

    Examples:
        >>> figures_in_words({"steps": 20000, "test": {"bits_per_dim": 3.10712, "split": "test"}})
        {'steps': '20,000', 'test bits per dim': '3.107', 'test split': 'test'}
        >>> figures_in_words({"bits_per_dim": 3.10712, "standard_error": 0.09712})
        {'bits per dim': '3.107 ± 0.097'}
    """
    words: dict[str, str] = {}
    for key, value in figures.items():
        name = key.replace("_", " ")
        if isinstance(value, Mapping):
            inner = figures_in_words(value)
            words |= {f"{name} {each}": said for each, said in inner.items()}
        elif key == BITS and isinstance(figures.get(ERROR), float):
            words[name] = with_error(value, figures[ERROR])
        elif key != ERROR or BITS not in figures:
            words[name] = figure(value, bits=key.endswith(BITS))
    return words


def with_error(value: float, error: float) -> str:
    """Returns a figure with its error: two digits of the error, and the figure's up to there.

    >>> with_error(3.10712, 0.09712), with_error(3.10712, 0.00031), with_error(3.1, 0.0)
    ('3.107 ± 0.097', '3.10712 ± 0.00031', '3.100 ± 0.000')
    """
    places = 3
    if math.isfinite(error) and error > 0:
        places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:.{places}f} ± {error:.{places}f}"


def figure(value: Any, *, bits: bool = False) -> str:
    """Returns one figure in words.

    Args:
        value: What it is.
        bits: Whether it is in bits per dimension, of which the third place is worth telling.

    >>> figure(1234567), figure(0.000123456), figure(41.279), figure([1, 2]), figure(None)
    ('1,234,567', '0.000123', '41.3', '1, 2', 'none')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if bits:
            return f"{value:.3f}"
        return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.3g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {said}" for key, said in figures_in_words(value).items())
    if isinstance(value, list | tuple):
        return ", ".join(map(figure, value))
    return str(value)
