"""Recognises folders and tars `train`, `val` and `test` as the splits that they name."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from flowkd.data.manifest import SPLITS
from flowkd.data.seeds import derive_seed
from flowkd.errors import DataError

NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
WORD = re.compile(rf"(?<![a-z])({'|'.join(NAMES)})(?![a-z])", re.IGNORECASE)


def split_of_folder(path: Sequence[str]) -> str | None:
    """Returns the split that the first folder of a path names; None if it names none.

    Examples:
        >>> split_of_folder(("Valid", "cats", "1.png")), split_of_folder(("test.png",))
        ('val', None)
    """
    return NAMES.get(path[0].lower()) if len(path) > 1 else None


def splits_of_folders(paths: Sequence[Sequence[str]], where: str) -> list[str] | None:
    """Returns the split of each file by its first folder; None unless all lie in such folders.

    Args:
        paths: The parts of each file's path below the source.
        where: What error messages call the source.

    Raises:
        DataError: Files lie beside folders of several splits, or there is no train among these.
    """
    splits = [split_of_folder(path) for path in paths]
    found = set(splits) - {None}
    if not found or (len(found) == 1 and None in splits):
        return None
    hint = "or set split_folders: false to draw the splits from all pictures"
    folders = ", ".join(sorted({f"{path[0]}/" for path in paths if split_of_folder(path)}))
    if None in splits:
        other = "/".join(paths[splits.index(None)])
        raise DataError(
            f"{folders} of {where} seem to be its splits, but {other} is in none of them; move "
            f"it, {hint}"
        )
    if len(found) > 1 and "train" not in found:
        raise DataError(
            f"{folders} of {where} seem to be its splits, without train; add it, {hint}"
        )
    return [split for split in splits if split is not None]


def splits_of_tars(names: Sequence[str], where: str) -> list[str] | None:
    """Returns the split that the name of each tar tells; None unless they tell several.

    Raises:
        DataError: As `splits_of_folders` does.

    Examples:
        >>> splits_of_tars(["a-train-000.tar", "a-train-001.tar", "a-val-000.tar"], "shards")
        ['train', 'train', 'val']
        >>> splits_of_tars(["train-000.tar", "train-001.tar"], "shards")
    """
    words = [WORD.search(name) for name in names]
    paths = [(word[0], name) if word else (name,) for word, name in zip(words, names, strict=True)]
    splits = splits_of_folders(paths, where)
    return splits if len(set(splits or ())) > 1 else None


def split_by_folder(
    splits: Sequence[str], *, val_fraction: float, test_fraction: float, seed: int, where: str
) -> dict[str, np.ndarray]:
    """Returns shuffled indices of the files of each split; one without files is drawn from train.

    Args:
        splits: The split of each file, as its folder says.
        val_fraction: Share of train's files that are val, if there is no folder of it.
        test_fraction: Share of train's files that are test, if there is no folder of it.
        seed: Seed of the order, and of what is drawn.
        where: What error messages call the source.

    Raises:
        DataError: train has too few files.

    Examples:
        >>> found = split_by_folder(
        ...     ["train"] * 8 + ["val"] * 2, val_fraction=0.1, test_fraction=0.25, seed=0, where="x"
        ... )
        >>> {split: len(files) for split, files in found.items()}
        {'train': 6, 'val': 2, 'test': 2}
    """
    names = np.array(splits)
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(len(names))
    found = {split: order[names[order] == split] for split in SPLITS}
    train = found["train"]
    for split, fraction in (("val", val_fraction), ("test", test_fraction)):
        if not len(found[split]):
            count = max(1, round(len(train) * fraction))
            found[split] = found["train"][:count]
            found["train"] = found["train"][count:]
    if not len(found["train"]):
        raise DataError(
            f"expected enough pictures in train/ of {where}; got {len(train)}, of which val or "
            f"test are drawn; add more"
        )
    return found


def remark_on_splits(splits: Sequence[str], what: str) -> str:
    """Returns a sentence on where the splits come from."""
    found = [split for split in SPLITS if split in splits]
    missing = [split for split in SPLITS if split not in splits]
    drawn = f"; {' and '.join(missing)} drawn from train, for there are none of it"
    if len(found) == 1:
        return f"All pictures lie in a folder {found[0]}, from which the splits are drawn."
    return f"The splits are the source's {what}: {', '.join(found)}{drawn if missing else ''}."


def check_one_split(key: str, seen: set[str], where: str) -> None:
    """Raises DataError where members of tars lie in folders of several splits.

    Args:
        key: Path of a member.
        seen: Splits of the members before it; that of this one is added.
        where: What error messages call the tars.
    """
    path = key.split("/")
    split = split_of_folder(path) or split_of_folder(path[1:] or path)
    seen.update({split} if split else ())
    if len(seen) > 1:
        raise DataError(
            f"{key} in {where} lies in a folder of another split than pictures before it; pack a "
            f"tar for each split, as train.tar and val.tar, or set split_folders: false to draw "
            f"the splits from all pictures"
        )
