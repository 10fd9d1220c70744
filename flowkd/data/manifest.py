"""The manifest of a data set, `datasets/<name>/manifest.json`, and how rows are split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from flowkd.columns import ColumnStep, ColumnTransform
from flowkd.config import Config, parse_config
from flowkd.config.faults import shown
from flowkd.credentials import values_without_credentials
from flowkd.data.seeds import derive_seed
from flowkd.errors import ConfigError, DataError, StoreError
from flowkd.names import DatasetName
from flowkd.store.sealed import read_sealed
from flowkd.store.store import Store

SPLITS = ("train", "val", "test")
MANIFEST = "manifest.json"

Count = Annotated[int, Field(ge=0)]
Size = Annotated[int, Field(ge=1)]
CONTEXT_LISTS = ("columns", "mean", "scale", "minimum", "maximum")


class Shard(Config):
    """One Parquet file of a split.

    Attributes:
        file: Name of the file within the data set's folder.
        rows: Number of rows.
        sha256: Hash of the file, in hex.
        bytes: Size of the file.
    """

    file: str
    rows: Count
    sha256: str
    bytes: Count


class Split(Config):
    """One split.

    Attributes:
        rows: Number of rows of all shards.
        groups: Number of groups of rows that belong together; None where each row is its own.
        shards: The files, in the order of the rows.
    """

    rows: Count
    groups: Count | None = None
    shards: list[Shard]

    @model_validator(mode="after")
    def _rows_of_the_shards(self) -> Self:
        found = sum(shard.rows for shard in self.shards)
        if found != self.rows:
            raise ValueError(f"expected {self.rows:,} rows in its shards; got {found:,}")
        return self


class LeftOut(Config):
    """What an import did not take from its source, for one reason.

    Attributes:
        what: What they are.
        count: How many.
        why: The reason, as half a sentence: "of suffixes that are not pictures".
        names: The names of the first of them.
    """

    what: Literal["files", "frames", "rows", "columns"]
    count: Count
    why: str
    names: list[str] = Field(default_factory=list)

    _hide = field_validator("why", "names", mode="before")(values_without_credentials)


class Manifest(Config):
    """A data set: its shapes, its statistics, its shards and where it comes from.

    Attributes:
        format: Version of this format.
        name: Name of the data set.
        kind: `image` or `table`.
        event_shape: (C, H, W) of an image, (D,) of a table's row.
        bins: Number of integer values of x (256 for 8-bit pictures); None if continuous.
        classes: Number of classes, if the context is a class.
        class_names: Names of the classes, if they have any.
        context_size: Length of the context, if it is a vector.
        context_columns: Names of the context's columns, in their order; one of a class.
        context_mean: Mean of each of them over the train split, in data units.
        context_scale: Standard deviation of each of them over the train split, in data units.
        context_minimum: Least value of each of them in the train split.
        context_maximum: Largest value of each of them in the train split.
        columns: Names of a table's columns, in the order of x.
        units: Units of columns and context columns, by name, where they are known.
        steps: Steps of a column's values, to which uniform noise as wide is added whenever they
            are read to learn from or to be judged on; None for a column without.
        transforms: What a column goes through before it is standardised, if anything.
        mean: Mean of each column over the train split, in data units, noise included; of a
            column that is transformed, of what comes out.
        scale: Standard deviation of each column over the train split, as the mean.
        group: What a group of rows is that belong together: `file`, a column's name; None where
            each row is one of its own.
        left_out: What the import did not take from the source, and why.
        remarks: Warnings to whoever trains on it, a sentence each.
        splits: The splits, by name.
        source: One line on where the data come from.
        config: Config of the importer that wrote the data set.
    """

    format: Literal[1] = 1
    name: DatasetName
    kind: Literal["image", "table"]
    event_shape: tuple[Size, ...] = Field(min_length=1)
    bins: Annotated[int, Field(ge=1, le=256)] | None = None
    classes: Size | None = None
    class_names: list[str] | None = None
    context_size: Size | None = None
    context_columns: list[str] | None = None
    context_mean: list[float] | None = None
    context_scale: list[float] | None = None
    context_minimum: list[float] | None = None
    context_maximum: list[float] | None = None
    columns: list[str] | None = None
    units: dict[str, str] = Field(default_factory=dict)
    steps: list[ColumnStep | None] | None = None
    transforms: list[ColumnTransform | None] | None = None
    mean: list[float] | None = None
    scale: list[float] | None = None
    group: str | None = None
    left_out: list[LeftOut] = Field(default_factory=list)
    remarks: list[str] = Field(default_factory=list)
    splits: dict[str, Split]
    source: str
    config: dict[str, Any] = Field(default_factory=dict)

    _hide = field_validator("remarks", "source", "config", mode="before")(
        values_without_credentials
    )

    @model_validator(mode="after")
    def _lengths_that_agree(self) -> Self:
        if self.classes is not None and self.context_size is not None:
            raise ValueError("expected classes or context_size; got both")
        width = self.event_shape[0] if len(self.event_shape) == 1 else None
        context = 1 if self.classes is not None else self.context_size
        expected = {
            **dict.fromkeys(("columns", "steps", "transforms"), width),
            **dict.fromkeys(("mean", "scale"), self.event_shape[0]),
            "class_names": self.classes,
            **dict.fromkeys((f"context_{each}" for each in CONTEXT_LISTS), context),
        }
        for key, length in expected.items():
            found = getattr(self, key)
            if found is not None and len(found) != length:
                raise ValueError(f"{key}: expected {length or 'none'}; got {len(found)}")
        return self


def read_manifest(store: Store, name: str) -> Manifest:
    """Returns a data set's manifest.

    Raises:
        DataError: There is no such data set (the message lists those there are), or its manifest
            is not one that this version reads.
    """
    if not store.exists("datasets", name, MANIFEST):
        known = ", ".join(dataset_names(store)) or "none yet"
        raise DataError(
            f"no dataset {name!r} in store {store.uri} (datasets there: {known}); "
            f"`python -m jobs.prepare --config FILE` prepares one"
        )
    source = f"manifest of dataset {name!r} in store {store.uri}"
    again = "prepare the dataset again with this version of flowkd"
    try:
        values = read_sealed(store, "datasets", name, MANIFEST)
        manifest = parse_config(Manifest, values, source=source)
    except (ConfigError, StoreError) as error:
        raise DataError(f"{error}\n{again}") from error
    if set(manifest.splits) != set(SPLITS):
        got = shown(sorted(manifest.splits))
        raise DataError(f"{source}: expected splits {', '.join(SPLITS)}; got {got}\n{again}")
    return manifest


def dataset_names(store: Store) -> list[str]:
    """Returns the sorted names of the store's complete data sets."""
    return [n for n in store.list("datasets") if store.exists("datasets", n, MANIFEST)]


def random_split(count: int, *, val: int, test: int, seed: int) -> dict[str, np.ndarray]:
    """Returns shuffled indices of train, val and test, which share none and leave none out.

    Examples:
        >>> {split: len(rows) for split, rows in random_split(10, val=2, test=3, seed=0).items()}
        {'train': 5, 'val': 2, 'test': 3}
    """
    order = np.random.default_rng(derive_seed(seed, "split")).permutation(count)
    train = count - val - test
    return {
        "train": order[:train],
        "val": order[train : train + val],
        "test": order[train + val :],
    }


def random_split_by_fraction(
    count: int, *, val_fraction: float, test_fraction: float, seed: int, what: str
) -> dict[str, np.ndarray]:
    """Returns the indices of a `random_split` by fractions, at least one for each split.

    Raises:
        DataError: There are too few for three splits; the message calls them `what`.
    """
    val, test = (max(1, round(count * fraction)) for fraction in (val_fraction, test_fraction))
    if count - val - test < 1:
        raise DataError(
            f"expected enough {what} for train, val and test; got {count}, of which {val} would be "
            f"val and {test} test; add more, or lower val_fraction and test_fraction"
        )
    return random_split(count, val=val, test=test, seed=seed)


def draw_val_rows(sizes: Sequence[int], val: int, seed: int) -> list[np.ndarray]:
    """Returns the indices of `val` rows, drawn evenly from batches of these sizes.

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
