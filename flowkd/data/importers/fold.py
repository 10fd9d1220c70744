"""Data set `fold`: another data set's rows, split anew by one fold of a cross-validation."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from flowkd.data.groups import count_groups
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.manifest import SPLITS, Manifest, Split, read_manifest
from flowkd.data.reading import load_split
from flowkd.data.rows import Examples, concat_examples
from flowkd.data.seeds import derive_seed
from flowkd.data.writing import SHARD_BYTES, SplitArrays, commit_manifest, write_shards
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store


class FoldConfig(ImporterConfig):
    """One of `folds` splits of a data set: its groups are dealt into so many parts of equal size.

    Part `fold` is test, the next one val, the others train: over all folds, every row is once in
    test and once in val. All rows must fit into memory. Mean and scale stay those of the source.

    Attributes:
        source: Name of the data set, in the same store.
        folds: Number of folds, at least 3.
        fold: Number of this one, from 0 on.
        seed: Seed of the parts and of the order of the rows; default 0.
        content: `content_of` the source's manifest, so that the fold is made again when the source
            has changed; default not looked at.
    """

    kind: Literal["fold"] = "fold"
    name: DatasetName
    source: DatasetName
    folds: int = Field(ge=3)
    fold: int = Field(ge=0)
    seed: int = Field(0, ge=0)
    content: str | None = None

    @model_validator(mode="after")
    def _among_the_folds(self) -> FoldConfig:
        if self.fold >= self.folds:
            raise ValueError(f"fold: expected 0 to {self.folds - 1}; got {self.fold}")
        if self.name == self.source:
            raise ValueError(f"name: expected another name than that of the source, {self.name!r}")
        return self

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest.

        Raises:
            DataError: There is no such source, or it has fewer groups than folds.
        """
        source = read_manifest(store, self.source)
        rows = concat_examples([load_split(store, source, split) for split in SPLITS])
        chosen = self._chosen(rows)
        draft = source.model_copy(
            update={
                "name": self.name,
                "splits": {},
                "remarks": [],
                "source": f"fold {self.fold} of {self.folds} of data set {self.source}, "
                f"{source.source}",
                "config": self.model_dump(mode="json"),
            }
        )
        splits = {}
        for split in SPLITS:
            part = rows.select(chosen[split])
            arrays = SplitArrays(
                part.x.numpy(),
                None if part.context is None else part.context.numpy(),
                None if part.group is None else part.group.numpy(),
            )
            shards = list(write_shards(store, self.name, split, arrays, SHARD_BYTES))
            splits[split] = Split(rows=len(part), groups=count_groups(arrays.group), shards=shards)
        return commit_manifest(store, draft.model_copy(update={"splits": splits}))

    def _chosen(self, rows: Examples) -> dict[str, torch.Tensor]:
        group = np.arange(len(rows)) if rows.group is None else rows.group.numpy()
        names, place = np.unique(group, return_inverse=True)
        if len(names) < self.folds:
            raise DataError(
                f"expected at least as many groups as folds in data set {self.source!r}; got "
                f"{len(names)} groups for {self.folds} folds; lower folds"
            )
        rng = np.random.default_rng(derive_seed(self.seed, "folds"))
        part = (rng.permutation(len(names)) % self.folds)[place]
        order = rng.permutation(len(rows))
        wanted = (self.fold, (self.fold + 1) % self.folds)
        own = {"test": part == wanted[0], "val": part == wanted[1]}
        own["train"] = ~(own["test"] | own["val"])
        return {split: torch.from_numpy(order[own[split][order]]) for split in SPLITS}


def content_of(manifest: Manifest) -> str:
    """Returns a hash of a data set's rows."""
    shards = [shard.sha256 for split in manifest.splits.values() for shard in split.shards]
    return hashlib.sha256("".join(shards).encode()).hexdigest()
