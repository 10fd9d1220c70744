"""Columns that determine each other: their joint density is infinite on a plane and 0 elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from flowkd.data.checks.options import Remedies, drop_option, quoted

CORRELATED = 0.98
# A column that others determine up to this share of its standard deviation is one of them.
EXACT = 0.01
# Weights below this, between columns in standard units, are left out of a relation.
LEAST_WEIGHT = 0.02
SPARE_ROWS = 10  # beyond the number of columns, below which any column seems to be determined


def correlated(train: np.ndarray, columns: Sequence[str], remedies: Remedies) -> Iterator[str]:
    """Tells the pairs that are nearly a line, the closest first."""
    if len(train) < 3 or len(columns) < 2:
        return
    r = np.corrcoef(train, rowvar=False)
    first, second = np.nonzero(np.triu(np.abs(r) > CORRELATED, k=1))
    for pair in np.argsort(-np.abs(r[first, second]), kind="stable"):
        a, b = first[pair], second[pair]
        drop = drop_option(remedies.options, columns[b])
        yield (
            f"{quoted([columns[a]])} and {quoted([columns[b]])} are correlated by {r[a, b]:.4f}: "
            f"likelihood rewards mostly how well a flow tells one from the other"
            f"{remedies(('keep one of them', drop))}"
        )


def relations(train: np.ndarray, columns: Sequence[str], remedies: Remedies) -> Iterator[str]:
    """Tells the columns that are a linear function of several before them.

    The rank of the columns' correlations is found by elimination, in the order of the columns.

    Args:
        train: Train rows (N, D), none of the columns constant.
        columns: Names of the columns.
        remedies: How it is told what can be done.
    """
    if len(train) < train.shape[1] + SPARE_ROWS:
        return
    mean, scale = train.mean(axis=0), train.std(axis=0)
    products = np.corrcoef(train, rowvar=False).reshape(len(columns), len(columns))
    if np.linalg.eigvalsh(products)[0] >= EXACT**2:
        return  # of full rank: what others leave of a column is at least the least eigenvalue
    left, independent = products.copy(), list[int]()
    for number in range(len(columns)):
        if left[number, number] >= EXACT**2:
            independent.append(number)
            rest = slice(number + 1, None)
            row = left[number, rest] / left[number, number]
            left[rest, rest] -= np.outer(left[rest, number], row)
            continue
        among = np.array(independent)
        within = products[np.ix_(among, among)]
        weights = np.linalg.lstsq(within, products[among, number], rcond=None)[0]
        used = np.abs(weights) > LEAST_WEIGHT
        if used.sum() < 2:
            continue  # a pair, which `correlated` tells
        sources, factors = among[used], weights[used] * scale[number] / scale[among[used]]
        terms = [f"{f:+.4g} `{columns[s]}`" for f, s in zip(factors, sources, strict=True)]
        offset = mean[number] - factors @ mean[sources]
        if abs(offset) > 1e-6 * scale[number]:
            terms.append(f"{offset:+.4g}")
        drop = drop_option(remedies.options, columns[number])
        yield (
            f"{quoted([columns[number]])} is determined by other columns, "
            f"{' '.join(terms).lstrip('+')}: together they have no density"
            f"{remedies(('leave one of them out', drop))}"
        )
