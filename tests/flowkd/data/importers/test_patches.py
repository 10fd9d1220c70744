"""Properties of the dataset of patches: what BSDS300's preparation makes of known pictures."""

import numpy as np
import pytest

from flowkd.data.importers import patches
from flowkd.data.importers.patches import PatchesConfig
from flowkd.data.importers.pictures import grid_crops
from flowkd.data.importers.prepare import prepare
from flowkd.data.reading import load_split

SPLITS = ("train", "val", "test")


@pytest.fixture
def pictures(monkeypatch):
    """Two grey pictures of random pixels, so that every patch is another."""
    rng = np.random.default_rng(0)
    made = {name: rng.integers(0, 256, (1, 192, 320)).astype(np.uint8) for name in "ab"}
    coloured = {name: np.repeat(grey, 3, axis=0) for name, grey in made.items()}
    monkeypatch.setattr(patches, "photographs", lambda: coloured)
    return made


def rows(store, **options):
    manifest = prepare(PatchesConfig(**options), store)
    return {split: load_split(store, manifest, split).x.numpy() for split in SPLITS}, manifest


def test_a_row_is_a_patch_with_noise_less_its_mean_without_its_last_pixel(memory_store, pictures):
    splits, manifest = rows(memory_store)
    assert (manifest.event_shape, manifest.kind, manifest.bins) == ((63,), "table", None)
    every = np.concatenate([grid_crops(p, 8, 4).reshape(-1, 64) for p in pictures.values()])
    known = every - every.mean(1, keepdims=True)
    for split in SPLITS:
        x = np.concatenate([splits[split], -splits[split].sum(1, keepdims=True)], axis=1)
        for row in 256 * x[:20]:
            distance = np.abs(known - row).max(axis=1).min()
            assert 0 < distance < 1, split  # noise within [0, 1) less its mean


def test_statistics_are_those_of_the_training_rows(memory_store, pictures):
    splits, manifest = rows(memory_store)
    np.testing.assert_allclose(manifest.mean, splits["train"].mean(0), atol=1e-6)
    np.testing.assert_allclose(manifest.scale, splits["train"].std(0), rtol=1e-5)


def test_splits_differ_and_are_reproducible(memory_store, pictures):
    splits, _ = rows(memory_store)
    limits = {"train_limit": 50, "val_limit": 9, "test_limit": 8}
    again, _ = rows(memory_store, name="again", **limits)
    for split, count in zip(SPLITS, (50, 9, 8), strict=True):
        assert len(again[split]) == count
        # The noise is drawn row by row, so that a limit leaves the rows that stay as they were.
        np.testing.assert_array_equal(again[split], splits[split][:count])
    assert len(splits["train"]) > 4 * len(splits["test"])  # overlapping, as only train's are


def test_the_real_patches(memory_store):
    manifest = prepare(PatchesConfig(), memory_store)
    found = {split: manifest.splits[split].rows for split in SPLITS}
    assert found["train"] > 100_000
    assert found["test"] > 5000
    assert 0.03 < np.mean(manifest.scale) < 0.2
