"""Which rows, or files, are train, val and test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flowkd.data.seeding import derive_seed
from flowkd.errors import DataError


def draw_splits(count: int, *, val: int, test: int, seed: int) -> dict[str, np.ndarray]:
    """Returns the shuffled indices of train, val and test, which share none and leave none out."""
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(count)
    train = count - val - test
    return {
        "train": order[:train],
        "val": order[train : train + val],
        "test": order[train + val :],
    }


def draw_fractions(
    count: int, *, val_fraction: float, test_fraction: float, seed: int, what: str
) -> dict[str, np.ndarray]:
    """Returns such splits by fraction, at least one index each.

    Raises:
        DataError: There are too few of `what` for three splits.
    """
    val, test = (max(1, round(count * fraction)) for fraction in (val_fraction, test_fraction))
    if count - val - test < 1:
        raise DataError(
            f"expected enough {what} for train, val and test; got {count}, of which {val} would be "
            f"val and {test} test; add more, or lower val_fraction and test_fraction"
        )
    return draw_splits(count, val=val, test=test, seed=seed)


def draw_evenly(sizes: Sequence[int], val: int, seed: int) -> list[np.ndarray]:
    """Returns which rows of each batch are val: as many of each, but for one more of the first.

    Raises:
        DataError: There are too few rows.
    """
    counts = [val // len(sizes) + (number < val % len(sizes)) for number in range(len(sizes))]
    if any(count >= size for count, size in zip(counts, sizes, strict=True)):
        raise DataError(
            f"expected val_rows below the {sum(sizes):,} rows of train; got {val:,}; lower val_rows"
        )
    rows = []
    for number, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        order = np.random.default_rng(derive_seed(seed, "split/val", number)).permutation(size)
        rows.append(np.sort(order[:count]))
    return rows
