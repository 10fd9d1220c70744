"""Precision, recall, density and coverage: samples within the data's neighbourhoods, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from flowkd.evaluation.quality.figure import Figure, Pair
from flowkd.evaluation.quality.kernels import squared_distances


def prdc(
    real: ArrayLike,
    drawn: ArrayLike,
    group: ArrayLike | None = None,
    *,
    neighbours: int = 5,
    resamples: int = 200,
    seed: int = 0,
) -> Mapping[str, Figure]:
    """Returns `precision`, `recall`, `density` and `coverage`, shares without a unit.

    A row's ball reaches to its k-th nearest other row on its own side, of another group.

    precision: share of the samples within a ball of the data: are they plausible?
    density: mean number of the data's balls around a sample, over k: the same, less led astray by
        single outlying rows; it may exceed 1.
    recall: share of the data within a ball of the samples: is the data's variety there?
    coverage: share of the data's balls with a sample within: the same, less led astray by single
        outlying samples.

    For equal numbers of rows of one distribution, density is 1 on average, and coverage
    1 - 2^-k, about, which for k = 5 is 0.97; these are `alike`.

    Warning:
        Only figures of the same space, k and numbers of rows may be compared. The intervals keep
        the balls' sizes; near 1 they are about twice as wide as they need be.

    Args:
        real: Rows of data, (N, ...), in a space where distances mean something: `standardise`
            for tables, `picture_features` for pictures.
        drawn: Samples, (M, ...).
        group: (N,), equal for rows of data that belong together; default each is its own.
        neighbours: k.
        resamples: Number of bootstrap resamples for the intervals.
        seed: Seed of the resamples.

    Raises:
        ValueError: As `Pair.of` does, or there are not k other rows, or groups.

    References:
        Kynkäänniemi et al., Improved precision and recall metric for assessing generative models,
        2019, arxiv.org/abs/1904.06991.
        Naeem et al., Reliable fidelity and diversity metrics for generative models, 2020,
        arxiv.org/abs/2002.09797.

    Examples:
        >>> draws = np.random.default_rng(0)
        >>> found = prdc(draws.normal(size=(300, 2)), draws.normal(0, 0.1, size=(300, 2)))
        >>> found["precision"].value, found["recall"].value < 0.1  # plausible, of no variety
        (1.0, True)
    """
    pair = Pair.of(real, drawn, group).flat()
    fewest = min(pair.groups, len(pair.drawn))
    if fewest <= neighbours:
        raise ValueError(
            f"expected more than {neighbours} groups of rows, and samples, for their nearest "
            f"{neighbours}; got {pair.groups} and {len(pair.drawn)}"
        )
    between = squared_distances(pair.real, pair.drawn)
    of_real = _radii(pair.real, pair.group, neighbours)
    of_drawn = _radii(pair.drawn, np.arange(len(pair.drawn)), neighbours)
    # Rows that are equal, as integers may be, are within a ball of no size, but for rounding.
    slack = 1e-12 * (pair.real**2).sum(1).max()
    in_real = (between <= of_real[:, None] + slack).astype(np.float32)
    in_drawn = (between <= of_drawn + slack).astype(np.float32)
    ours, theirs = (
        np.concatenate([np.ones((1, weights.shape[1])), weights]).astype(np.float32)
        for weights in pair.resample(resamples, seed)
    )
    around, reached = ours @ in_real, theirs @ in_real.T  # balls around samples, samples in balls
    rows, samples = (weights.sum(1, dtype=np.float64) for weights in (ours, theirs))
    balls = neighbours * rows / len(pair.real)
    found = {
        "precision": ((around > 0) * theirs).sum(1) / samples,
        "recall": ((theirs @ in_drawn.T > 0) * ours).sum(1) / rows,
        "density": (around * theirs).sum(1, dtype=np.float64) / samples / balls,
        "coverage": ((reached > 0) * ours).sum(1) / rows,
    }
    alike = {} if pair.grouped else _alike(len(pair.real), len(pair.drawn), neighbours)
    return {
        name: pair.figure(
            each[0],
            each[1:],
            alike.get(name),
            bounds=(0, np.inf if name == "density" else 1),
        )
        for name, each in found.items()
    }


def _radii(rows: np.ndarray, group: np.ndarray, neighbours: int) -> np.ndarray:
    """Returns the squared distance (N,) of each row to its k-th nearest one of another group."""
    squares = squared_distances(rows, rows)
    squares[group[:, None] == group] = np.inf
    return np.partition(squares, neighbours - 1, axis=1)[:, neighbours - 1]


def _alike(rows: int, samples: int, k: int) -> dict[str, float]:
    """Returns what is expected of one distribution; Naeem et al., 2020, section 4."""
    # All orders of the other rows and the samples around a row are equally likely: it is uncovered
    # if its nearest k are all rows.
    place = np.arange(k)
    uncovered = np.prod((rows - 1 - place) / (rows + samples - 1 - place))
    return {"density": 1.0, "coverage": 1 - float(uncovered)}
