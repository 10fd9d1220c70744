"""A classifier two-sample test: how well a classifier tells samples from data."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike

from flowkd.data.shuffle import derive_seed
from flowkd.evaluation.quality.figure import Figure, Pair

# Widths of the Gaussian kernels that the random features stand for, relative to the typical
# distance of two rows: wide for shifts and scales, narrow for fine structure.
WIDTHS = (1.0, 0.4, 0.15)
PRODUCTS_UP_TO = 16
CONTEXT_PRODUCTS = 256
PENALTIES = 10.0 ** np.arange(-1, 5)
PERMUTATIONS = 40
# Below so many standard deviations of random labels, a figure may be chance.
CHANCE = 3


def classifier_auc(
    real: ArrayLike,
    drawn: ArrayLike,
    group: ArrayLike | None = None,
    *,
    context: ArrayLike | None = None,
    partner: ArrayLike | None = None,
    folds: int = 5,
    features: int = 384,
    resamples: int = 500,
    seed: int = 0,
) -> Figure:
    """Returns the area under the ROC curve of a classifier that tells data from samples.

    0.5: it cannot tell them apart; 1: it always can. It has no unit, and does not change with that
    of a column: the classifier sees the columns' ranks. It is a ridge regression on these, their
    squares and products, and random Fourier features of three widths, fitted on all folds but the
    one that it judges. Rows of one group are in one fold, and so are the samples that go with them.
    With context, it sees that too, and products with it: how x depends on its context.

    Warning:
        0.5 is no proof that distributions are equal: another classifier may find what this one does
        not, and more rows may as well. Near 1, a detail may be all that differs, such as
        values that are rounded on one side: it says nothing on how bad that is. The interval is
        that of these classifiers. Near 0.5 it is no narrower than what classifiers of random labels
        reach: their folds agree by chance more than a bootstrap of scores knows.

    Args:
        real: Rows of data, (N, ...).
        drawn: Samples, (M, ...).
        group: (N,), equal for rows of data that belong together; default each is its own.
        context: (N, C), contexts of the rows, each also that of the samples that go with it; a
            class as C zeros and ones; default none.
        partner: (M,), the place of the row that a sample goes with; default its own place.
        folds: Number of parts, of which each is judged by a classifier fitted on the others.
        features: Number of random features.
        resamples: Number of bootstrap resamples for the interval.
        seed: Seed of folds, features and resamples.

    Raises:
        ValueError: As `Pair.of` does, or the rows are of a single group.

    References:
        Lopez-Paz and Oquab, Revisiting classifier two-sample tests, 2017, arxiv.org/abs/1610.06545.
        Rahimi and Recht, Random features for large-scale kernel machines, 2007.

    Examples:
        >>> draws = np.random.default_rng(0)
        >>> found = classifier_auc(draws.normal(0, 1, (400, 1)), draws.normal(1, 1, (400, 1)))
        >>> abs(found.value - 0.760) < 0.04  # the best possible, for normal values 1 apart
        True
    """
    pair = Pair.of(real, drawn, group).flat()
    of_rows = _folds(pair, folds, seed)
    places = np.arange(len(pair.drawn)) if partner is None else np.asarray(partner)
    places = np.concatenate([np.arange(len(of_rows)), places % len(of_rows)])
    where = of_rows[places]
    given = np.empty((len(of_rows), 0)) if context is None else np.asarray(context, np.float64)
    inputs = _inputs(
        _normal_scores(np.concatenate([pair.real, pair.drawn])),
        _normal_scores(given)[places],
        features,
        seed,
    )
    labels = _labels(pair, PERMUTATIONS, seed)
    scores = np.empty_like(labels)
    for fold in range(of_rows.max() + 1):
        learnt, judged = where != fold, where == fold
        scores[judged] = inputs[judged] @ _ridge(inputs[learnt], 2 * labels[learnt] - 1)
    once = np.ones((1, len(labels)))
    by_chance = [
        _auc(own, label > 0, where, once)[0]
        for own, label in zip(scores.T[1:], labels.T[1:], strict=True)
    ]
    weights = np.concatenate([once, np.concatenate(pair.resample(resamples, seed), axis=1)])
    found = _auc(scores[:, 0], labels[:, 0] > 0, where, weights)
    resampled = found[1:]
    if abs(found[0] - 0.5) < CHANCE * np.std(by_chance):
        resampled = resampled * max(1.0, np.std(by_chance) / max(resampled.std(), 1e-12))
    return pair.figure(found[0], resampled, alike=0.5, bounds=(0, 1))


def _labels(pair: Pair, permutations: int, seed: int) -> np.ndarray:
    """Returns which of all rows are data, (N + M, 1 + B): first as it is, then at random."""
    first = np.concatenate([np.ones(len(pair.real)), np.zeros(len(pair.drawn))])
    draws = np.random.default_rng(derive_seed(seed, "quality/permutation"))
    return np.stack([first, *(draws.permutation(first) for _ in range(permutations))], axis=1)


def _folds(pair: Pair, folds: int, seed: int) -> np.ndarray:
    """Returns the fold of each row of data, (N,), from 0 on: whole groups, about as many rows."""
    if pair.groups < 2:
        raise ValueError("expected rows of at least two groups, to learn on one and judge another")
    order = np.random.default_rng(derive_seed(seed, "quality/folds")).permutation(pair.groups)
    rows = np.bincount(pair.group)[order]
    middle = (np.cumsum(rows) - rows / 2) / rows.sum()
    of_group = np.empty(pair.groups, np.int64)
    of_group[order] = np.floor(middle * min(folds, pair.groups)).astype(np.int64)
    if len(np.unique(of_group)) < 2:  # one group has nearly all rows
        of_group[order] = np.arange(pair.groups) % 2
    return np.unique(of_group[pair.group], return_inverse=True)[1]


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Returns each column's ranks, equal for equal values, as quantiles of a normal, (N, D)."""
    scores = np.empty_like(values)
    for column in range(values.shape[1]):
        _, place, counts = np.unique(values[:, column], return_inverse=True, return_counts=True)
        ranks = np.cumsum(counts) - counts / 2
        quantiles = torch.special.ndtri(torch.from_numpy(ranks / len(values)))
        scores[:, column] = quantiles.numpy()[place]
    return scores


def _inputs(scores: np.ndarray, context: np.ndarray, features: int, seed: int) -> np.ndarray:
    """Returns what the regression sees of each row, (N, F), standardised, with a constant.

    Args:
        scores: Of the values, (N, D).
        context: Scores of the context, (N, C).
        features: Number of random features.
        seed: Seed of these.
    """
    draws = np.random.default_rng(derive_seed(seed, "quality/features"))
    parts = [scores, scores**2]
    if scores.shape[1] <= PRODUCTS_UP_TO:
        first, second = np.triu_indices(scores.shape[1], 1)
        parts.append(scores[:, first] * scores[:, second])
    if context.shape[1]:
        parts.append(_products(scores, context, draws))
        scores = np.concatenate([scores, context], axis=1)
    size = scores.shape[1]
    for width in WIDTHS:
        frequencies = draws.normal(size=(size, features // len(WIDTHS)))
        phases = draws.uniform(0, 2 * np.pi, frequencies.shape[1])
        parts.append(np.cos(scores @ frequencies / (width * np.sqrt(2 * size)) + phases))
    inputs = np.concatenate(parts, axis=1)
    inputs -= inputs.mean(0)
    scale = inputs.std(0)
    inputs /= np.where(scale > 0, scale, 1)
    return np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)


def _products(scores: np.ndarray, context: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    """Returns products of values and context (N, P), of random sums of the values if too many."""
    room = max(1, CONTEXT_PRODUCTS // context.shape[1])
    if scores.shape[1] > room:
        scores = scores @ draws.normal(size=(scores.shape[1], room))
    return (scores[:, :, None] * context[:, None, :]).reshape(len(scores), -1)


def _ridge(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns coefficients (F, T) of targets (N, T), each with the penalty of the least error.

    The error is that of a row which is left out.

    References:
        Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, equation 7.64.
    """
    strengths, vectors = np.linalg.eigh(inputs.T @ inputs)
    turned = inputs @ vectors
    onto = turned.T @ targets
    best, chosen = np.full(targets.shape[1], np.inf), onto
    for penalty in PENALTIES:
        shrunk = 1 / (strengths.clip(0) + penalty)
        leverage = turned**2 @ shrunk
        ours = shrunk[:, None] * onto
        error = (((targets - turned @ ours) / (1 - leverage).clip(1e-6)[:, None]) ** 2).mean(0)
        chosen = np.where(error < best, ours, chosen)
        best = np.minimum(error, best)
    return vectors @ chosen


def _auc(
    scores: np.ndarray, positive: np.ndarray, where: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Returns the share of pairs within a fold that are in order, ties half, by weights (B, N)."""
    right, pairs = np.zeros(len(weights)), np.zeros(len(weights))
    for fold in np.unique(where):
        inside = where == fold
        _, place = np.unique(scores[inside], return_inverse=True)
        own = weights[:, inside]
        order = np.argsort(place, kind="stable")
        starts = np.flatnonzero(np.diff(place[order], prepend=-1))
        ups, downs = (
            np.add.reduceat((own * chosen)[:, order], starts, axis=1)
            for chosen in (positive[inside], ~positive[inside])
        )
        below = np.cumsum(downs, axis=1) - downs / 2
        right += (ups * below).sum(1)
        pairs += ups.sum(1) * downs.sum(1)
    return right / pairs
