"""Statistics of context vectors over a train split: what flows standardise them by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from flowkd.errors import DataError

# A spread of fewer float32 steps than this is a staircase.
MIN_STEPS = 64
PART_ROWS = 2**16


class ColumnStatistics:
    """Mean, standard deviation and range of columns that come part by part, in float64.

    Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances, 1979.

    Args:
        size: Number of columns.

    Example:
        >>> seen = ColumnStatistics(1)
        >>> seen.add(np.array([[1.0], [2.0]]))
        >>> seen.add(np.array([[6.0]]))
        >>> seen.mean.tolist(), seen.minimum.tolist(), seen.maximum.tolist()
        ([3.0], [1.0], [6.0])
    """

    def __init__(self, size: int) -> None:
        self.rows = 0
        self.mean = np.zeros(size)
        self.minimum = np.full(size, np.inf)
        self.maximum = np.full(size, -np.inf)
        self._squares = np.zeros(size)

    @property
    def scale(self) -> np.ndarray:
        """The standard deviation of each column."""
        return np.sqrt(self._squares / max(1, self.rows))

    def add(self, values: np.ndarray) -> None:
        """Takes in rows, (N, size), of which there may be none."""
        if not len(values):
            return
        exact = values.astype(np.float64)
        mean, rows = exact.mean(0), self.rows + len(exact)
        apart = mean - self.mean
        self._squares += ((exact - mean) ** 2).sum(0) + apart**2 * self.rows * len(exact) / rows
        self.mean = self.mean + apart * len(exact) / rows
        self.minimum = np.minimum(self.minimum, exact.min(0))
        self.maximum = np.maximum(self.maximum, exact.max(0))
        self.rows = rows


def context_fields(
    parts: Iterable[np.ndarray], size: int, names: Sequence[str] | None, where: str
) -> dict[str, Any]:
    """Returns the manifest's fields of a context: its mean, scale, minimum and maximum.

    Args:
        parts: The context vectors of the train split, (N, size) each, in float32.
        size: Length of a vector.
        names: Names of its columns, for messages; None for none.
        where: What messages call the data.

    Raises:
        DataError: A column that is constant, or whose values float32 can hardly tell apart.
    """
    seen = ColumnStatistics(size)
    for part in parts:
        for start in range(0, len(part), PART_ROWS):
            seen.add(part[start : start + PART_ROWS])
    check_spread(seen, names, where)
    return {
        "context_mean": seen.mean.tolist(),
        "context_scale": seen.scale.tolist(),
        "context_minimum": seen.minimum.tolist(),
        "context_maximum": seen.maximum.tolist(),
    }


def check_spread(seen: ColumnStatistics, names: Sequence[str] | None, where: str) -> None:
    """Raises DataError for context columns that tell a flow nothing in float32."""
    labels = names or [f"context[{number}]" for number in range(len(seen.mean))]
    constant = [name for name, one in zip(labels, seen.minimum == seen.maximum, strict=True) if one]
    if constant:
        raise DataError(
            f"{where} has context columns that are constant over the train split, so that no flow "
            f"can learn from them: {', '.join(constant)}; leave them out"
        )
    largest = np.maximum(np.abs(seen.minimum), np.abs(seen.maximum)).astype(np.float32)
    lost = np.flatnonzero(seen.scale < MIN_STEPS * np.spacing(largest))
    if len(lost):
        number = int(lost[0])
        raise DataError(
            f"{where}, context column {labels[number]!r}: a spread of {seen.scale[number]:g} "
            f"around {seen.mean[number]:g} is lost in float32; subtract an offset from the "
            f"column, or leave it out"
        )
