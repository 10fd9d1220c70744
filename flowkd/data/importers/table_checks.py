"""Remarks on a table's columns: what makes the likelihood of a flow on it mean little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

CORRELATED = 0.98
# A column of fewer distinct values than this share of its rows counts as discrete.
DISTINCT = 0.1
MAX_REMARKS = 10


def remarks_on(train: np.ndarray, columns: Sequence[str], dropped: Sequence[str]) -> list[str]:
    """Returns a sentence for each peculiarity of the columns, at most MAX_REMARKS + 1 of a kind.

    Args:
        train: The train rows (N, D), no column constant.
        columns: Names of the columns.
        dropped: Names of columns that were left out because they are constant.
    """
    remarks = []
    if dropped:
        rest = f" and {len(dropped) - MAX_REMARKS} more" if len(dropped) > MAX_REMARKS else ""
        remarks.append(
            f"Constant over the train split and dropped: {_quoted(dropped[:MAX_REMARKS])}{rest}."
        )
    remarks += _bounded(list(_correlated(train, columns)), "pairs of correlated columns")
    return remarks + _bounded(list(_discrete(train, columns)), "columns of few distinct values")


def _correlated(train: np.ndarray, columns: Sequence[str]) -> Iterator[str]:
    """Tells the pairs that are nearly a line, the closest first."""
    if len(train) < 3 or len(columns) < 2:
        return
    r = np.corrcoef(train, rowvar=False)
    first, second = np.nonzero(np.triu(np.abs(r) > CORRELATED, k=1))
    for pair in np.argsort(-np.abs(r[first, second]), kind="stable"):
        a, b = first[pair], second[pair]
        yield (
            f"{_quoted([columns[a]])} and {_quoted([columns[b]])} are correlated by {r[a, b]:.4f}: "
            f"likelihood rewards mostly how well a flow tells one from the other; keep one of them."
        )


def _discrete(train: np.ndarray, columns: Sequence[str]) -> Iterator[str]:
    for name, column in zip(columns, train.T, strict=True):
        distinct = len(np.unique(column))
        if distinct < DISTINCT * len(column):
            yield (
                f"{_quoted([name])} has {distinct:,} distinct values in {len(column):,} train "
                f"rows: the density of such a column has no upper bound; add uniform noise as wide "
                f"as its steps, or leave it out."
            )


def _bounded(sentences: list[str], what: str) -> list[str]:
    if len(sentences) <= MAX_REMARKS:
        return sentences
    return [*sentences[:MAX_REMARKS], f"There are {len(sentences) - MAX_REMARKS:,} more {what}."]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
