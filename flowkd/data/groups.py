"""Groups: rows that belong together, such as the crops of one picture, and are not independent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from flowkd.data.manifest import Split, random_split_by_fraction
from flowkd.data.seeds import derive_seed
from flowkd.errors import DataError

# Below so many groups in a split, its errors are themselves too uncertain to rely on.
FEW_GROUPS = 30


def number_groups(values: pa.ChunkedArray, where: str) -> np.ndarray:
    """Returns the group (N,) of each row as int64, from 0 on in the order in which they come.

    Args:
        values: What is equal for rows that belong together: numbers or text.
        where: What error messages call the column.

    Raises:
        DataError: A row has no value.

    Examples:
        >>> number_groups(pa.chunked_array([["b", "a"], ["b"]]), "names").tolist()
        [0, 1, 0]
    """
    joined = values.combine_chunks()
    missing = joined.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    if missing.any():
        raise DataError(
            f"{where}, row {int(missing.argmax()) + 1} (from 1, without a header): expected the "
            f"row's group; got no value; {int(missing.sum())} such rows: correct or remove them"
        )
    return np.asarray(joined.dictionary_encode().indices).astype(np.int64)


def split_by_group(
    groups: np.ndarray, *, val_fraction: float, test_fraction: float, seed: int, what: str
) -> dict[str, np.ndarray]:
    """Returns shuffled indices of the rows of train, val and test; each group is in one of them.

    Args:
        groups: (N,) the group of each row, 0 to G - 1.
        val_fraction: Share of the groups that are val, at least one.
        test_fraction: Share of the groups that are test, at least one.
        seed: Seed of the split and of the order.
        what: What an error message calls the groups.

    Raises:
        DataError: There are too few groups for three splits.

    Examples:
        >>> groups = np.array([0, 0, 1, 2, 2, 2])
        >>> found = split_by_group(
        ...     groups, val_fraction=0.1, test_fraction=0.1, seed=0, what="groups"
        ... )
        >>> sorted(len(set(groups[rows])) for rows in found.values())
        [1, 1, 1]
    """
    chosen = random_split_by_fraction(
        int(groups.max(initial=-1)) + 1,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
        what=what,
    )
    order = np.random.default_rng(derive_seed(seed, "split/rows")).permutation(len(groups))
    return {split: order[np.isin(groups[order], own)] for split, own in chosen.items()}


def count_groups(groups: np.ndarray | None) -> int | None:
    """Returns the number of distinct groups; None where each row is its own."""
    return None if groups is None else len(np.unique(groups))


def remarks_on_groups(splits: Mapping[str, Split], group: str | None) -> list[str]:
    """Returns a sentence if a split has fewer than FEW_GROUPS independent groups, or none."""
    few = {name: n for name, split in splits.items() if (n := groups_of(split)) < FEW_GROUPS}
    if not few:
        return []
    counts = _listed([f"{count} in {name}" for name, count in few.items()])
    what = "rows" if group is None else f"groups (by {group})"
    return [
        f"Fewer than {FEW_GROUPS} independent {what}: {counts}. The errors of figures on them are "
        f"themselves uncertain, and flows may change places with other {what}; add more, or "
        f"cross-validate with `folds` of a study."
    ]


def groups_of(split: Split) -> int:
    """Returns how many groups a split has; each row is one where none are known."""
    return split.rows if split.groups is None else split.groups


def describe_rows(rows: int, groups: int) -> str:
    """Returns how many rows there are in how many groups, in words.

    Examples:
        >>> describe_rows(1200, 24), describe_rows(1200, 1200)
        ('1,200 rows in 24 groups', '1,200 rows')
    """
    text = f"{rows:,} row{'' if rows == 1 else 's'}"
    return text if groups == rows else f"{text} in {groups:,} group{'' if groups == 1 else 's'}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
