"""Folds of a data set: every row is once in test, groups stay together, nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.fold import FoldConfig, content_of
from flowkd.data.importers.prepare import prepare
from flowkd.data.manifest import SPLITS, Manifest, read_manifest
from flowkd.data.reading import load_split
from flowkd.data.rows import Examples
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError
from flowkd.store.store import Store

COUNTS = {"train": 60, "val": 8, "test": 7}


def furnish(store: Store, shift: float = 0.0) -> Manifest:
    """A table of pictures' crops: x is the group, the row's number, and noise."""
    splits, first = {}, 0
    for split, groups in COUNTS.items():
        group = np.repeat(np.arange(first, first + groups), 4)
        noise = np.random.default_rng(groups).normal(0, 1, len(group))
        x = np.stack([group, 1000 * group + np.tile(np.arange(4), groups), noise + shift], axis=1)
        splits[split] = SplitArrays(x.astype(np.float32), x[:, :1].astype(np.float32), group)
        first += groups
    return write_dataset(
        store, "crops", splits, kind="table", source="a test", columns=["g", "n", "e"],
        mean=[0, 0, 0], scale=[1, 1, 1], context_columns=["g"], group="file",
        remarks=["a remark on the split"],
    )  # fmt: skip


def fold(store: Store, number: int, **options: Any) -> tuple[Manifest, dict[str, Examples]]:
    config = FoldConfig(name=f"f{number}", source="crops", folds=5, fold=number, **options)
    manifest = prepare(config, store)
    return manifest, {split: load_split(store, manifest, split) for split in SPLITS}


def test_every_row_is_once_in_test_and_once_in_val(memory_store: Store) -> None:
    furnish(memory_store)
    held_out: dict[str, list[Any]] = {"val": [], "test": []}
    for number in range(5):
        manifest, splits = fold(memory_store, number)
        groups = {split: set(rows.group.tolist()) for split, rows in splits.items()}
        assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == 75
        assert {s: manifest.splits[s].groups for s in SPLITS} == {s: len(groups[s]) for s in SPLITS}
        assert [len(groups[split]) for split in SPLITS] == [45, 15, 15]
        for split, own in held_out.items():
            own += splits[split].x[:, 1].tolist()
        for rows in splits.values():
            assert rows.x[:, 0].tolist() == rows.group.tolist() == rows.context[:, 0].tolist()
            assert (rows.x[:, 1].diff() < 0).any()  # shuffled
    expected = sorted(1000 * group + row for group in range(75) for row in range(4))
    assert sorted(held_out["val"]) == sorted(held_out["test"]) == expected


def test_a_folds_manifest_is_its_sources_but_for_the_split(memory_store: Store) -> None:
    source = furnish(memory_store)
    manifest, _ = fold(memory_store, 2)
    own = {"name", "splits", "remarks", "source", "config"}
    assert manifest.model_dump(exclude=own) == source.model_dump(exclude=own)
    [few] = manifest.remarks
    assert few.startswith("Fewer than 30 independent groups (by file): 15 in val and 15 in test")


def test_rows_of_their_own_are_dealt_one_by_one(memory_store: Store) -> None:
    prepare(DigitsConfig(), memory_store)
    found = []
    for number in range(3):
        config = FoldConfig(name="f", source="digits", folds=3, fold=number)
        manifest = prepare(config, memory_store)
        assert (manifest.group, manifest.classes, manifest.bins) == (None, 10, 17)
        found += load_split(memory_store, manifest, "test").x.flatten(1).tolist()
    whole = read_manifest(memory_store, "digits")
    rows = [load_split(memory_store, whole, split).x.flatten(1) for split in SPLITS]
    assert sorted(found) == sorted(torch.cat(rows).tolist())


def test_a_fold_is_made_again_when_its_source_has_changed(memory_store: Store) -> None:
    first = furnish(memory_store)
    _, before = fold(memory_store, 0, content=content_of(first))
    changed = furnish(memory_store, shift=1.0)
    assert content_of(changed) != content_of(first)
    _, after = fold(memory_store, 0, content=content_of(changed))
    torch.testing.assert_close(after["train"].x[:, 2], before["train"].x[:, 2] + 1)


def test_folds_that_cannot_be_are_refused(memory_store: Store) -> None:
    furnish(memory_store)
    with pytest.raises(DataError, match="got 75 groups for 80 folds"):
        prepare(FoldConfig(name="f", source="crops", folds=80, fold=0), memory_store)
    with pytest.raises(ValidationError, match="expected 0 to 2; got 3"):
        FoldConfig(name="f", source="crops", folds=3, fold=3)
    with pytest.raises(ValidationError, match="expected another name than that of the source"):
        FoldConfig(name="crops", source="crops", folds=3, fold=0)
