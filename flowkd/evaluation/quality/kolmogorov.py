"""Kolmogorov-Smirnov distance of each column, or of each channel of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from flowkd.evaluation.quality.figure import Figure, Pair

# Resamples of the data that stand for samples of its distribution.
ALIKE = 20
MOST_LEVELS = 4096


def kolmogorov_smirnov(
    real: ArrayLike,
    drawn: ArrayLike,
    names: Sequence[str] | None = None,
    group: ArrayLike | None = None,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> Mapping[str, Figure]:
    """Returns the largest distance of two distribution functions, by column: max |F(t) - G(t)|.

    0 to 1, without a unit, and the same in any. For pictures (N, C, H, W) of integers it is that
    of a channel's values, all places together.

    Warning:
        Of finite sets it is above zero even for one distribution, by about `alike`, which is its
        mean for resamples of the data in place of the samples. Of many columns, the worst is larger
        by chance. Marginals say nothing on how columns go together.

    Args:
        real: Rows of data, (N, D), or pictures.
        drawn: Samples, (M, D), or pictures.
        names: Of the columns; default `x0`, `x1`, ..., of pictures `channel 0`, ...
        group: (N,), equal for rows of data that belong together; default each is its own.
        resamples: Number of bootstrap resamples for the intervals.
        seed: Seed of the resamples.

    Raises:
        ValueError: As `Pair.of` does; names are not as many as columns; or pictures have more
            than MOST_LEVELS values.

    References:
        Hodges, The significance probability of the Smirnov two-sample test, 1958,
        doi.org/10.1007/BF02589501.

    Examples:
        >>> x = np.arange(4.0)[:, None]
        >>> kolmogorov_smirnov(x, x + 2, ["energy"])["energy"].value
        0.5
    """
    pair = Pair.of(real, drawn, group)
    columns = pair.real.shape[1]
    word = "x" if pair.real.ndim == 2 else "channel "
    names = [f"{word}{number}" for number in range(columns)] if names is None else names
    if len(names) != columns:
        raise ValueError(f"expected names of {columns} columns; got {len(names)}")
    signed = pair.contrasts(ALIKE, resamples, seed)
    rows = np.concatenate([pair.real, pair.drawn])
    found = {}
    for number, name in enumerate(names):
        values = rows[:, number].reshape(len(rows), -1)
        apart = _distances(values, signed)
        alike = float(apart[1 : 1 + ALIKE].mean())
        found[name] = pair.figure(apart[0], apart[1 + ALIKE :], alike, bounds=(0, 1))
    return found


def _distances(values: np.ndarray, signed: np.ndarray) -> np.ndarray:
    """Returns max |F - G| (B,), of weights (B, N) that differ, of rows of some values (N, P)."""
    levels, place = np.unique(values, return_inverse=True)
    place = place.reshape(values.shape)
    if values.shape[1] == 1:
        order = np.argsort(place[:, 0], kind="stable")
        starts = np.flatnonzero(np.diff(place[order, 0], prepend=-1))
        steps = np.add.reduceat(signed[:, order], starts, axis=1)
        return np.abs(np.cumsum(steps, axis=1)).max(1)
    if len(levels) > MOST_LEVELS:
        raise ValueError(
            f"expected pictures of at most {MOST_LEVELS} different values, such as integers; got "
            f"{len(levels)}"
        )
    counts = np.zeros((len(values), len(levels)))
    for row, own in enumerate(place):
        counts[row] = np.bincount(own, minlength=len(levels))
    return np.abs(np.cumsum(signed @ counts, axis=1)).max(1) / values.shape[1]
