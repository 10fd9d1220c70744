"""Searches over values in an order, by scores of which less is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

Value = TypeVar("Value")
# Where the climb begins and how far it may go, by factors of 2: Adam's range for flows.
FIRST_RATE = 0.004
LEAST_RATE, MOST_RATE = FIRST_RATE / 64, FIRST_RATE * 32
MIN_GAIN = 0.005  # bits per dimension, for which more is tried


def climb(score: Callable[[float], float]) -> tuple[float, dict[float, float]]:
    """Returns the best learning rate and the scores of those tried, by factors of 2 from the first.

    The optimum is that of a parabola through the best score and its neighbours, over log rates.

    Args:
        score: Less is better; infinite where it does not train.
    """
    tried = {FIRST_RATE: score(FIRST_RATE)}
    while True:
        best = min(tried, key=lambda rate: tried[rate])
        beside = [rate for rate in (2 * best, best / 2) if LEAST_RATE <= rate <= MOST_RATE]
        fresh = next((rate for rate in beside if rate not in tried), None)
        if fresh is None:
            break
        tried[fresh] = score(fresh)
    below, here, above = (tried.get(rate, math.inf) for rate in (best / 2, best, 2 * best))
    if not math.isfinite(below) or not math.isfinite(above):
        return best, tried
    curvature = below - 2 * here + above
    octaves = 0.5 * (below - above) / curvature if curvature > 0 else 0.0
    return float(f"{best * 2**octaves:.2g}"), tried


def first_gains(values: Sequence[Value], score: Callable[[Value], float], known: float) -> int:
    """Returns how many values in a row each gain on the one before; less of a score is a gain.

    Args:
        values: From the weakest to the strongest.
        score: Of a value.
        known: Score without any.
    """
    for number, value in enumerate(values):
        found = score(value)
        if not found < known - MIN_GAIN:
            return number
        known = found
    return len(values)
