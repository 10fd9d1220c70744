"""Values that float32 cannot hold apart, or whose squares it cannot hold at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from flowkd.columns import ColumnTransforms, LogTransform
from flowkd.data.checks.options import Remedies, drop_option, quoted, set_option
from flowkd.errors import DataError

# Squares of these, and sums of many of them, are finite and not 0 in float32.
LARGEST, SMALLEST = 1e18, 1e-18
# Of a column that goes through a logarithm first: room for samples beyond all data.
LARGEST_OF_LOG, SMALLEST_OF_LOG = 1e30, 1e-30
# A spread of fewer float32 steps than this is a staircase rather than a density.
MIN_STEPS = 64
TOLD_APART = 0.98  # share of the distinct values that float32 must leave distinct
COUNTED_ROWS = 20_000  # of more rows, some would be equal in float32 by chance
# A positive column whose middle 99% span more than this factor is one point to an affine map.
WIDE = 1e4
EDGE, CROWDED = 1e-3, 0.05
# Long tails: this share of the values, and so many, is further from the median than this many times
# the quartiles are on the mean. Of a normal column none is: it is at 10 standard deviations.
TAIL_SHARE, TAIL_ROWS, TAIL_BEGINS = 5e-4, 5, 15.0


def check_magnitudes(
    x: np.ndarray,
    columns: Sequence[str],
    transforms: ColumnTransforms,
    source: str,
    row_numbers: np.ndarray | None = None,
) -> None:
    """Raises DataError for values that float32 cannot square, or not hold at all.

    Args:
        x: All rows (N, D), in float64.
        columns: Names of the columns.
        transforms: What each column goes through first.
        source: What the message calls the table.
        row_numbers: Where each row is in the source, from 0; default as here.
    """
    for name, column, transform in zip(columns, x.T, transforms, strict=True):
        most = LARGEST_OF_LOG if isinstance(transform, LogTransform) else LARGEST
        bad = np.flatnonzero(np.abs(column) > most)
        if len(bad):
            row = int(bad[0] if row_numbers is None else row_numbers[bad[0]])
            raise DataError(
                f"{source}, row {row + 1} (from 1, without a header), column {name!r}: expected at "
                f"most {most:g}, whose square float32 holds; got {column[bad[0]]:g}; {len(bad)} "
                f"such rows: rescale the column, for example to units of {column[bad[0]]:.0e}"
            )


def check_spread(
    train: np.ndarray,
    columns: Sequence[str],
    transforms: ColumnTransforms,
    source: str,
    remedies: Remedies,
) -> None:
    """Raises DataError for columns of which float32 leaves one value, or a staircase, or zeros.

    Args:
        train: Train rows (N, D), in float64, no column constant.
        columns: Names of the columns.
        transforms: What each column goes through first.
        source: What the message calls the table.
        remedies: How it is told what can be done.
    """
    stored = train.astype(np.float32)
    scale, mean = stored.std(axis=0, dtype=np.float64), train.mean(axis=0)
    steps = np.spacing(np.abs(stored).max(axis=0))
    for number, name in enumerate(columns):
        least = SMALLEST_OF_LOG if isinstance(transforms[number], LogTransform) else SMALLEST
        exact = train[:, number].std()
        if exact < least:
            raise DataError(
                f"{source}, column {name!r}: a spread of {exact:g} is too small, for its square is "
                f"0 in float32; rescale the column, for example to units of {exact:.0e}"
            )
        distinct = len(np.unique(stored[:, number]))
        if distinct == 1 or scale[number] < MIN_STEPS * steps[number]:
            told = (
                f"; of {len(np.unique(train[:, number])):,} distinct values it leaves {distinct:,}"
            )
            raise DataError(
                f"{source}, column {name!r}: a spread of {exact:g} around {mean[number]:g} "
                f"is lost in float32{told}{_apart(name, remedies)}"
            )


def indistinct(train: np.ndarray, columns: Sequence[str], remedies: Remedies) -> Iterator[str]:
    """Tells the columns of which float32 makes equal what was different.

    Args:
        train: Train rows (N, D), in float64, as the source has them.
        columns: Names of the columns.
        remedies: How it is told what can be done.
    """
    for name, column in zip(columns, train[:COUNTED_ROWS].T, strict=True):
        exact, stored = len(np.unique(column)), len(np.unique(column.astype(np.float32)))
        if stored < TOLD_APART * exact:
            step = np.spacing(np.float32(np.abs(column).max()))
            yield (
                f"{quoted([name])} has {exact:,} distinct values, of which float32 leaves "
                f"{stored:,}, for its steps are {step:g} there{_apart(name, remedies)}"
            )


def _apart(name: str, remedies: Remedies) -> str:
    drop = drop_option(remedies.options, name)
    return remedies(("subtract an offset from the column", ""), ("leave it out", drop))


def wide(
    train: np.ndarray, columns: Sequence[str], transforms: ColumnTransforms, remedies: Remedies
) -> Iterator[str]:
    """Tells the columns that want a logarithm or a logit: all but a few values seem equal.

    Args:
        train: Train rows (N, D), in data units, with the noise of their steps.
        columns: Names of the columns.
        transforms: What each column goes through first.
        remedies: How it is told what can be done.
    """
    for name, column, transform in zip(columns, train.T, transforms, strict=True):
        if transform is not None or column.min() <= 0:
            continue
        low, high = _most(column)
        near = (np.mean(column < EDGE), np.mean(column > 1 - EDGE))
        if column.max() <= 1 and min(near) > CROWDED:
            if column.max() == 1:
                continue  # its logit is infinite there, and `repeats` tells of it
            logit = ("let a flow learn its logit", set_option("transforms", name, "logit"))
            yield (
                f"{quoted([name])} crowds at its bounds 0 and 1, {sum(near):.0%} of its train rows "
                f"within {EDGE:g} of them{remedies(logit)}"
            )
        elif high > WIDE * low:
            log = ("let a flow learn its logarithm", set_option("transforms", name, "log"))
            yield (
                f"{quoted([name])} is positive and spans {np.log10(high / low):.0f} orders of "
                f"magnitude, so that most of it seems one point{remedies(log)}"
            )


def long_tails(
    train: np.ndarray, columns: Sequence[str], transforms: ColumnTransforms, remedies: Remedies
) -> Iterator[str]:
    """Tells the columns whose tails are so long that their spread says little of most values.

    Args:
        train: Train rows (N, D), in data units, with the noise of their steps.
        columns: Names of the columns.
        transforms: What each column goes through first.
        remedies: How it is told what can be done.
    """
    for name, column, transform in zip(columns, train.T, transforms, strict=True):
        column = np.unique(column)  # a value that repeats is told by `repeats`
        low, middle, high = np.quantile(column, [0.25, 0.5, 0.75])
        scale = (high - low) / 2
        ends = _most(column)
        if transform is not None or scale == 0 or ends[1] > WIDE * ends[0] > 0:
            continue  # `wide` tells of the last
        far = int((np.abs(column - middle) > TAIL_BEGINS * scale).sum())
        if far < max(TAIL_ROWS, TAIL_SHARE * len(column)):
            continue
        if column.min() > 0:
            remedy = ("let a flow learn its logarithm", set_option("transforms", name, "log"))
        else:
            about, unit = (float(f"{value:.3g}") for value in (middle, scale))
            asinh = {"kind": "asinh", "center": about, "scale": unit}
            remedy = ("let a flow learn its asinh", set_option("transforms", name, asinh))
        most = np.abs(column - middle).max() / scale
        yield (
            f"{quoted([name])} has long tails: {far:,} values are more than {TAIL_BEGINS:g} "
            f"times as far from the median as the quartiles, up to {most:,.0f} times"
            f"{remedies(remedy)}"
        )


def _most(column: np.ndarray) -> tuple[float, float]:
    """Returns what 99% of a column's values lie between."""
    low, high = np.quantile(column, [0.005, 0.995])
    return float(low), float(high)
