"""Errors and intervals of figures: a paired bootstrap over groups of rows that belong together.

Rows of one group, such as the crops of one picture, are not independent: groups are drawn, not
rows. Every flow sees the same draws, so that what two flows share on a group leaves their
difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np

from flowkd.data.groups import FEW_GROUPS, describe_rows
from flowkd.data.seeds import derive_seed

RESAMPLES = 2000
# Above so many groups, they are put together at random into so many lots, which are drawn instead:
# the error of a mean stays the same, and is known to some 3% with either.
MOST_LOTS = 1000
COVERED = 0.95


@dataclass(frozen=True)
class GroupBits:
    """A flow's bits per dimension on rows, summed by group: enough for every error and interval.

    Of two flows on the same rows, the lots are the same.

    Attributes:
        bits: Sum over the rows of each lot, which is a group, or several where there are very many.
        rows: Number of rows of each lot.
        groups: Number of groups.
    """

    bits: list[float]
    rows: list[int]
    groups: int

    @property
    def mean(self) -> float:
        """The mean over the rows."""
        return sum(self.bits) / sum(self.rows)

    @property
    def few(self) -> bool:
        """Whether the groups are too few for their errors to be relied on."""
        return self.groups < FEW_GROUPS

    def __str__(self) -> str:
        return describe_rows(sum(self.rows), self.groups)

    @property
    def without_worst(self) -> GroupBits:
        """The same without the lot of the most bits a row; there are two at least."""
        worst = int(np.argmax(np.array(self.bits) / np.array(self.rows)))
        bits, rows = list(self.bits), list(self.rows)
        del bits[worst], rows[worst]
        return GroupBits(bits, rows, self.groups - 1)

    @classmethod
    def of(cls, bits: np.ndarray, group: np.ndarray | None = None) -> GroupBits:
        """Sums bits per dimension (N,) by the rows' group (N,); default each row is its own."""
        if group is None:
            return _in_lots(bits, np.ones(len(bits), np.int64), len(bits))
        _, place, rows = np.unique(group, return_inverse=True, return_counts=True)
        return _in_lots(np.bincount(place, bits), rows, len(rows))

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> GroupBits:
        """Returns what `asdict` made of them."""
        return cls(list(values["bits"]), list(values["rows"]), int(values["groups"]))

    @classmethod
    def pool(cls, parts: Sequence[GroupBits]) -> GroupBits:
        """Puts together those of different rows, such as the test splits of several folds."""
        bits = np.array([value for part in parts for value in part.bits])
        rows = np.array([count for part in parts for count in part.rows])
        return _in_lots(bits, rows, sum(part.groups for part in parts))


@dataclass(frozen=True)
class Interval:
    """An estimate with its error; NaN where it is not known, as that of a single group.

    Attributes:
        estimate: The figure.
        error: Its standard error.
        low: Lower end of its 95% interval.
        high: Upper end.
    """

    estimate: float
    error: float = math.nan
    low: float = math.nan
    high: float = math.nan

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @property
    def nothing(self) -> bool:
        """Whether zero may be the truth: it lies within the interval, or there is none."""
        return not self.known or self.low <= 0 <= self.high


def resampled(found: GroupBits) -> np.ndarray:
    """Returns the mean over the rows, then RESAMPLES of it over groups drawn with replacement.

    The array is (1 + RESAMPLES,): whatever is computed from those of several flows, value by value,
    is an estimate with its paired resamples, of which `interval_of` makes an interval. Draws depend
    on the number of lots alone. The spread is widened by sqrt(G / (G - 1)), which makes the error
    of a mean unbiased. Resamples of a single group are NaN.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 8 and 13.

    Examples:
        >>> teacher = GroupBits.of(np.array([3.0, 3.5, 3.2, 2.9]), np.array([0, 0, 1, 2]))
        >>> plain = GroupBits.of(np.array([3.1, 3.6, 3.3, 3.0]), np.array([0, 0, 1, 2]))
        >>> found = interval_of(resampled(plain) - resampled(teacher))
        >>> round(found.estimate, 6), round(found.error, 6)  # on every group the same
        (0.1, 0.0)
    """
    count = len(found.bits)
    values = np.full(1 + RESAMPLES, np.nan)
    values[0] = found.mean
    if count > 1:
        weights = _weights(count)
        drawn = (weights @ np.array(found.bits)) / (weights @ np.array(found.rows, np.float64))
        values[1:] = values[0] + (drawn - values[0]) * math.sqrt(count / (count - 1))
    return values


def interval_of(values: np.ndarray) -> Interval:
    """Returns an estimate, values[0], with standard error and percentile interval of the others.

    Where more than 1 - COVERED of them are not finite, error and interval are not known.
    """
    estimate, drawn = float(values[0]), values[1:]
    finite = drawn[np.isfinite(drawn)]
    if not math.isfinite(estimate) or len(finite) < COVERED * len(drawn):
        return Interval(estimate)
    tail = (1 - COVERED) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(estimate, float(finite.std(ddof=1)), float(low), float(high))


def mean_of(found: GroupBits) -> Interval:
    """Returns the mean over the rows, with its error."""
    return interval_of(resampled(found))


def difference(first: GroupBits, second: GroupBits) -> Interval:
    """Returns first - second of two flows on the same rows, with its error.

    Raises:
        ValueError: They are of different rows.
    """
    _check_paired(first, second)
    return interval_of(resampled(first) - resampled(second))


def gap_interval(teacher: GroupBits, plain: GroupBits, distilled: GroupBits) -> Interval:
    """Returns the share of the gap between plain student and teacher that is closed.

    It is NaN where there is no gap; its interval is not known where there may be none.

    Raises:
        ValueError: They are of different rows.
    """
    _check_paired(teacher, plain)
    _check_paired(teacher, distilled)
    return share_interval(gaps_closed(*map(resampled, (teacher, plain, distilled))))


def share_interval(values: np.ndarray) -> Interval:
    """Returns the interval of a share of a gap, as `interval_of` does.

    Its error is a quarter of the interval's width, about: single resamples in which the gap is
    nearly none would make a standard deviation as large as one likes.
    """
    found = interval_of(values)
    width = 2 * NormalDist().inv_cdf((1 + COVERED) / 2)
    return replace(found, error=(found.high - found.low) / width)


def gaps_closed(teacher: np.ndarray, plain: np.ndarray, distilled: np.ndarray) -> np.ndarray:
    """Returns (plain - distilled) / (plain - teacher), value by value; NaN where there is no gap.

    In bits per dimension.
    """
    gap = plain - teacher
    with np.errstate(invalid="ignore"):
        return np.where(gap > 0, (plain - distilled) / np.where(gap > 0, gap, 1), np.nan)


def _check_paired(first: GroupBits, second: GroupBits) -> None:
    if first.rows != second.rows:
        raise ValueError(f"expected two flows on the same rows; got {first} and {second}")


def _in_lots(bits: np.ndarray, rows: np.ndarray, groups: int) -> GroupBits:
    if len(bits) > MOST_LOTS:
        order = np.random.default_rng(derive_seed(0, "lots")).permutation(len(bits))
        lots = np.arange(len(bits)) % MOST_LOTS
        bits = np.bincount(lots, bits[order])
        rows = np.bincount(lots, rows[order]).astype(np.int64)
    return GroupBits(bits.tolist(), rows.tolist(), groups)


@lru_cache(maxsize=4)
def _weights(count: int) -> np.ndarray:
    """Returns how often each of `count` lots is drawn in each resample, (RESAMPLES, count)."""
    generator = np.random.default_rng(derive_seed(0, "bootstrap"))
    drawn = generator.multinomial(count, np.full(count, 1 / count), RESAMPLES)
    return drawn.astype(np.float64)
