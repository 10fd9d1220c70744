"""Columns whose values repeat: they have no density, unless noise as wide as their steps is added.

What a flow learns of such a column is how narrow a peak it can make of each value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from flowkd.data.checks.options import Remedies, drop_option, quoted, set_option

# A column of fewer distinct values than this share of its rows counts as discrete.
DISTINCT = 0.1
# A value that holds this share of a column's rows is one that a density cannot have, and so is one
# that holds a tenth of it and five times as many rows as the next: a mark, such as -999.
REPEATED = 0.01
MARK_SHARE, MARK_RATIO = 0.001, 5
LEAST_REPEATS = 5
NAMED = 3  # values of a column that a remark names
MOST_DECIMALS = 9


def repeats(train: np.ndarray, columns: Sequence[str], remedies: Remedies) -> Iterator[str]:
    """Tells which columns have few distinct values, or some that repeat.

    Args:
        train: The train rows (N, D), with the noise of their steps.
        columns: Names of the columns.
        remedies: How it is told what can be done.
    """
    for name, column in zip(columns, train.T, strict=True):
        values, counts = np.unique(column, return_counts=True)
        drop = drop_option(remedies.options, name)
        if len(values) < DISTINCT * len(column):
            yield (
                f"{quoted([name])} has {len(values):,} distinct values in {len(column):,} train "
                f"rows: the density of such a column has no upper bound"
                f"{remedies(*_noise(name, values), ('leave it out', drop))}"
            )
        elif marks := _marks(values, counts):
            held = ", ".join(
                f"{value:g} in {count / len(column):.1%}" for value, count in marks[:NAMED]
            )
            ways = [*_noise(name, values), *_rows(name, marks), ("leave the column out", drop)]
            yield (
                f"{quoted([name])} repeats single values, {held} of {len(column):,} train rows: "
                f"there its density has no upper bound{remedies(*ways)}"
            )


def grid_step(values: np.ndarray) -> float | None:
    """Returns the width of the steps between values, of at most 9 decimals; None for none.

    Args:
        values: Different values, sorted, in float64.

    Examples:
        >>> grid_step(np.array([0.25, 1.0, 7.5]))
        0.25
        >>> grid_step(np.array([0.1, 0.4, 0.7]))
        0.3
        >>> grid_step(np.array([0.1, 0.4, np.pi]))
    """
    size = np.abs(values).max()
    float32 = np.array_equal(values, values.astype(np.float32))
    # A number that float32 holds may be exact, such as 1/256, or a rounded decimal.
    for error in (size * 2.0**-50, *([size * 2.0**-23] if float32 else [])):
        for decimals in range(MOST_DECIMALS + 1):
            step = _whole_steps(values, error, 10.0**decimals)
            if step:
                return float(f"{step / 10.0**decimals:.12g}")
    return None


def _whole_steps(values: np.ndarray, error: float, unit: float) -> int:
    """Returns the largest number of 1 / unit that all steps are multiples of; 0 for none."""
    scaled = (values - values[0]) * unit
    if error * unit > 0.05 or np.abs(scaled).max() > 2**53:
        return 0
    whole = np.rint(scaled)
    if np.abs(scaled - whole).max() > 2 * error * unit + 1e-9 or (np.diff(whole) == 0).any():
        return 0
    return int(np.gcd.reduce(np.abs(whole).astype(np.int64)))


def _noise(name: str, values: np.ndarray) -> list[tuple[str, str]]:
    step = grid_step(values)
    if step is None:
        return []
    option = set_option("dequantize", name, step)
    return [(f"add uniform noise as wide as its steps of {step:g}", option)]


def _rows(name: str, marks: Sequence[tuple[float, int]]) -> list[tuple[str, str]]:
    if len(marks) > NAMED:
        return []
    option = set_option("missing", name, marks[0][0])
    return [("leave out the rows, if the value stands for none", option)]


def _marks(values: np.ndarray, counts: np.ndarray) -> list[tuple[float, int]]:
    """Returns the values that hold more of a column than a density allows, and how many rows."""
    order = np.argsort(-counts, kind="stable")
    rows = counts.sum()
    common = counts >= max(LEAST_REPEATS, REPEATED * rows)
    first, second = counts[order[0]], counts[order[1]] if len(order) > 1 else 0
    if first >= max(LEAST_REPEATS, MARK_SHARE * rows) and first >= MARK_RATIO * second:
        common[order[0]] = True
    return [(float(values[place]), int(counts[place])) for place in order[common[order]]]
