"""Curves of a run as one line of text each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 60
CURVES = {"loss": "loss", "validation_bits_per_dim": "validation, bits/dim"}


def curves_of(log: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the curves of a run's log: what it is, its line, its first, best and last values."""
    found = []
    for key, name in CURVES.items():
        values = [float(each[key]) for each in log if isinstance(each.get(key), int | float)]
        finite = [value for value in values if math.isfinite(value)]
        if len(finite) > 1:
            found.append(
                {
                    "curve": name,
                    "first to last": sparkline(values),
                    "first": f"{values[0]:.3f}",
                    "lowest": f"{min(finite):.3f}",
                    "last": f"{values[-1]:.3f}",
                }
            )
    return found


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Returns values as a line of bars, the medians of equal parts of them where they are many.

    The scale ends at the ninth tenth of what is high, so that one spike leaves the rest its shape;
    what is not finite is a gap.

    >>> sparkline([1.0, 2.0, 3.0]), sparkline([1.0, float("nan"), 1.0])
    ('▁▅█', '▁ ▁')
    """
    count = min(width, len(values))
    parts = [
        values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(count)
    ]
    points = [_median(part) for part in parts]
    finite = sorted(point for point in points if math.isfinite(point))
    if not finite:
        return " " * count
    low, high = finite[0], finite[(9 * len(finite)) // 10 if len(finite) >= 10 else -1]
    span = high - low or 1.0
    return "".join(
        " " if not math.isfinite(point)
        else BARS[round(min(1.0, (point - low) / span) * (len(BARS) - 1))]
        for point in points
    )  # fmt: skip


def _median(values: Sequence[float]) -> float:
    finite = sorted(value for value in values if math.isfinite(value))
    return finite[len(finite) // 2] if finite else math.nan
