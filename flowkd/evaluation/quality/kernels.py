"""Maximum mean discrepancy of two sets of rows, unbiased, by a kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from flowkd.data.shuffle import derive_seed
from flowkd.evaluation.quality.figure import Figure, Pair

Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
# Rows of the kernel's matrix that are in memory at a time, and rows whose median distance is taken.
BLOCK = 512
MEDIAN_ROWS = 1000


def mmd(
    real: ArrayLike,
    drawn: ArrayLike,
    group: ArrayLike | None = None,
    *,
    bandwidth: float | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> Figure:
    """Returns the squared maximum mean discrepancy, unbiased, for k = exp(-|x - y|^2 / (2 h^2)).

    MMD^2 = E k(x, x') + E k(y, y') - 2 E k(x, y), over pairs of different rows, and of different
    groups. It has no unit, is at most 2, and about 0, on either side, for one distribution. Give
    columns of order one, as `standardise` makes them.

    Warning:
        Values of different data sets, or bandwidths, are not comparable. Near 0 the interval is too
        wide rather than too narrow.

    Args:
        real: Rows of data, (N, ...).
        drawn: Samples, (M, ...).
        group: (N,), equal for rows of data that belong together; default each is its own.
        bandwidth: h; default the median distance between two rows of data, so that it is the same
            for whatever is compared with them.
        resamples: Number of bootstrap resamples for the interval.
        seed: Seed of the resamples.

    Raises:
        ValueError: As `Pair.of` does, or the rows are of a single group.

    References:
        Gretton et al., A kernel two-sample test, 2012, jmlr.org/papers/v13/gretton12a.html.

    Examples:
        >>> draws = np.random.default_rng(0)
        >>> found = mmd(draws.normal(size=(200, 2)), draws.normal(size=(200, 2)))
        >>> found.low < 0 < found.high
        True
    """
    pair = Pair.of(real, drawn, group).flat()
    if bandwidth is None:
        bandwidth = median_distance(pair.real, seed)
    return unbiased_mmd(pair, gaussian_kernel(bandwidth), resamples, seed)


def gaussian_kernel(bandwidth: float) -> Kernel:
    """Returns k(x, y) = exp(-|x - y|^2 / (2 bandwidth^2)), on rows (A, D) and (B, D) as (A, B)."""
    return lambda a, b: np.exp(squared_distances(a, b) / (-2 * bandwidth**2))


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns |a_i - b_j|^2 of rows (A, D) and (B, D), (A, B)."""
    found = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return found.clip(0)


def median_distance(rows: np.ndarray, seed: int) -> float:
    """Returns the median distance of two rows (N, D), of at most MEDIAN_ROWS; 1 where it is 0."""
    order = np.random.default_rng(derive_seed(seed, "quality/median")).permutation(len(rows))
    some = rows[order[:MEDIAN_ROWS]]
    squares = squared_distances(some, some)[np.triu_indices(len(some), 1)]
    return float(np.sqrt(np.median(squares))) or 1.0


def unbiased_mmd(pair: Pair, kernel: Kernel, resamples: int, seed: int) -> Figure:
    """Returns MMD^2 over pairs of different rows, and of different groups, with its interval.

    Rows that a resample draws twice make no pairs with themselves, so that it is unbiased, too.
    """
    if pair.groups < 2:
        raise ValueError("expected rows of at least two groups; got one")
    ours, theirs = pair.resample(resamples, seed)
    ours, theirs = (np.concatenate([np.ones((1, w.shape[1])), w]) for w in (ours, theirs))
    own = np.arange(len(pair.drawn))
    found = (
        _mean(kernel, (pair.real, ours, pair.group), (pair.real, ours, pair.group))
        + _mean(kernel, (pair.drawn, theirs, own), (pair.drawn, theirs, own))
        - 2 * _mean(kernel, (pair.real, ours, pair.group), (pair.drawn, theirs, -1 - own))
    )
    return pair.figure(found[0], found[1:], alike=0.0)


Side = tuple[np.ndarray, np.ndarray, np.ndarray]


def _mean(kernel: Kernel, left: Side, right: Side) -> np.ndarray:
    """Returns the mean kernel (B,) over pairs of unequal group, by weights (B, N) and (B, M)."""
    (a, weights_a, group_a), (b, weights_b, group_b) = left, right
    total, pairs = np.zeros(len(weights_a)), np.zeros(len(weights_a))
    for start in range(0, len(a), BLOCK):
        part = slice(start, start + BLOCK)
        apart = group_a[part, None] != group_b
        own = weights_a[:, part]
        total += ((own @ (kernel(a[part], b) * apart)) * weights_b).sum(1)
        pairs += own.sum(1) * weights_b.sum(1)
    same = np.intersect1d(group_a, group_b)
    if len(same):  # pairs within a group were left out
        pairs -= (_by_group(weights_a, group_a) * _by_group(weights_b, group_b)).sum(1)
    return total / np.where(pairs > 0, pairs, np.nan)


def _by_group(weights: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Returns the sums of weights (B, N) over the groups, (B, G)."""
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.add.reduceat(weights[:, order], starts, axis=1)
