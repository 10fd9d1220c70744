"""What a prepared dataset says about itself: `datasets/<name>/manifest.json`, written last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from flowkd.config import Config, parse_config
from flowkd.data.shuffle import derive_seed
from flowkd.errors import ConfigError, DataError, StoreError
from flowkd.names import DatasetName
from flowkd.store.store import Store

SPLITS = ("train", "val", "test")
MANIFEST = "manifest.json"


class Shard(Config):
    """One Parquet file of a split, with what it takes to notice that it is damaged."""

    file: str
    rows: int
    sha256: str
    bytes: int


class Split(Config):
    """The shards of one split, in order."""

    rows: int
    shards: list[Shard]


class Manifest(Config):
    """A prepared dataset: its shapes, its statistics, its shards and where it comes from.

    Attributes:
        event_shape: (C, H, W) of an image, (D,) of a table's row.
        bins: The number of integer values of x (256 for 8-bit pictures); None if continuous.
        classes: The number of context classes, where the context is a class.
        class_names: Their names, where they have any.
        context_size: The length of the context, where it is a vector.
        columns: A table's columns, in the order of x.
        mean: Mean of each column over the train split, in data units.
        scale: Standard deviation of each column over the train split, in data units.
        remarks: What whoever trains on it should know, a sentence each.
        source: One line of provenance.
        config: The resolved configuration that prepared the dataset.
    """

    format: Literal[1] = 1
    name: DatasetName
    kind: Literal["image", "table"]
    event_shape: tuple[int, ...]
    bins: int | None = None
    classes: int | None = None
    class_names: list[str] | None = None
    context_size: int | None = None
    columns: list[str] | None = None
    mean: list[float] | None = None
    scale: list[float] | None = None
    remarks: list[str] = Field(default_factory=list)
    splits: dict[str, Split]
    source: str
    config: dict[str, Any] = Field(default_factory=dict)


def read_manifest(store: Store, name: str) -> Manifest:
    """Returns a dataset's manifest.

    Raises:
        DataError: There is no such dataset (those that exist are listed), or its manifest is
            not one that this version reads.
    """
    if not store.exists("datasets", name, MANIFEST):
        known = ", ".join(dataset_names(store)) or "none yet"
        raise DataError(
            f"no dataset {name!r} in store {store.uri} (datasets there: {known}); "
            f"`python -m jobs.prepare --config FILE` prepares one"
        )
    source = f"manifest of dataset {name!r} in store {store.uri}"
    try:
        return parse_config(Manifest, store.read_json("datasets", name, MANIFEST), source=source)
    except (ConfigError, StoreError) as error:
        raise DataError(
            f"{error}\nprepare the dataset again with this version of flowkd"
        ) from error


def dataset_names(store: Store) -> list[str]:
    """Returns the sorted names of the store's complete datasets."""
    return [n for n in store.list("datasets") if store.exists("datasets", n, MANIFEST)]


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
