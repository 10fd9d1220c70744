"""Remarks on a table's columns: what makes the likelihood of a flow on it mean little."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from flowkd.columns import ColumnTransforms
from flowkd.data.checks.magnitudes import indistinct, long_tails, wide
from flowkd.data.checks.options import Remedies, quoted
from flowkd.data.checks.relations import correlated, relations
from flowkd.data.checks.repeats import repeats

MAX_REMARKS = 10
# Rows of the train split that are looked at: enough for a share of a thousandth.
CHECKED_ROWS = 200_000


def remarks_on(
    train: np.ndarray,
    columns: Sequence[str],
    dropped: Sequence[str],
    *,
    remedies: Remedies | None = None,
    transforms: ColumnTransforms | None = None,
    learned: tuple[np.ndarray, np.ndarray] | None = None,
) -> list[str]:
    """Returns a sentence for each peculiarity of the columns, at most MAX_REMARKS + 1 of a kind.

    Args:
        train: The train rows (N, D) as the source has them, no column constant.
        columns: Names of the columns.
        dropped: Names of columns that were left out because they are constant.
        remedies: What is done with the columns already, and how it is told what can be done;
            default nothing, and by the options of an import.
        transforms: What each column goes through first; default none.
        learned: The rows with the noise of their steps, and those transformed, (N, D) each;
            default as they are.
    """
    remedies = remedies or Remedies()
    transforms = transforms if transforms is not None else [None] * len(columns)
    train = train[:CHECKED_ROWS]
    noisy, mapped = (rows[:CHECKED_ROWS] for rows in learned or (train, train))
    remarks = []
    if dropped:
        rest = f" and {len(dropped) - MAX_REMARKS} more" if len(dropped) > MAX_REMARKS else ""
        remarks.append(
            f"Constant over the train split and dropped: {quoted(dropped[:MAX_REMARKS])}{rest}."
        )
    of_steps = [name in remedies.options.dequantize for name in columns]
    free = [number for number, noise in enumerate(of_steps) if not noise]
    measured = np.where(of_steps, noisy, train)
    for found, what in (
        (correlated(mapped, columns, remedies), "pairs of correlated columns"),
        (relations(mapped, columns, remedies), "columns that others determine"),
        (repeats(measured, columns, remedies), "columns whose values repeat"),
        (
            indistinct(train[:, free], [columns[number] for number in free], remedies),
            "columns that float32 cannot hold",
        ),
        (wide(noisy, columns, transforms, remedies), "columns that want a logarithm or a logit"),
        (long_tails(noisy, columns, transforms, remedies), "columns of long tails"),
    ):
        remarks += _bounded(found, what)
    return remarks


def remarks_on_context(train: np.ndarray, columns: Sequence[str]) -> list[str]:
    """Returns a sentence for each column of context vectors of which float32 makes values equal.

    A context may repeat, be correlated and span any magnitude: it has no density to be learned.

    Args:
        train: The train rows (N, c) as the source has them.
        columns: Names of the columns.
    """
    found = indistinct(train, columns, Remedies(told="words"))
    what = "columns of the context that float32 cannot hold"
    return _bounded((f"Context {sentence}" for sentence in found), what)


def _bounded(found: Iterable[str], what: str) -> list[str]:
    sentences = list(found)
    if len(sentences) <= MAX_REMARKS:
        return sentences
    return [*sentences[:MAX_REMARKS], f"There are {len(sentences) - MAX_REMARKS:,} more {what}."]
