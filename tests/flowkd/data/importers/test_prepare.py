"""Properties of the built-in datasets, photos and digits, and of preparing in general."""

import itertools
import sys

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from sklearn.datasets import load_digits

from flowkd.config import Config, parse_config
from flowkd.data.importers import photos
from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.photos import PhotosConfig
from flowkd.data.importers.prepare import DatasetConfig, DatasetExistsError, prepare
from flowkd.data.importers.table import TableConfig
from flowkd.data.reading import load_split
from flowkd.errors import ConfigError, DataError
from flowkd.store.store import Store

SPLITS = ("train", "val", "test")


@pytest.fixture
def store():
    memory = Store("memory://flowkd-test-importers")
    yield memory
    memory.remove()


@pytest.fixture
def numbered_pixels(monkeypatch):
    """Photographs of which every pixel is unique: its colour is its number."""
    ids = np.arange(2 * 270 * 450)
    ids = np.random.default_rng(0).permutation(ids)  # so that no tile is flat
    pixels = np.stack([ids >> 16, ids >> 8 & 255, ids & 255]).astype(np.uint8)
    pictures = pixels.reshape(3, 2, 270, 450).swapaxes(0, 1)
    monkeypatch.setattr(photos, "photographs", lambda: dict(zip("ab", pictures, strict=True)))


def pixel_ids(store, config):
    manifest = prepare(config, store)
    crops = {split: load_split(store, manifest, split).x.numpy() for split in SPLITS}
    return {split: np.tensordot([65536, 256, 1], x, (0, 1)) for split, x in crops.items()}


@pytest.mark.parametrize(("crop", "stride"), [(8, None), (32, None), (24, 5), (64, None)])
def test_no_two_splits_share_a_pixel_of_the_photos(store, numbered_pixels, crop, stride):
    ids = pixel_ids(store, PhotosConfig(crop=crop, stride=stride, seed=1))
    for a, b in itertools.combinations(SPLITS, 2):
        assert not np.intersect1d(ids[a], ids[b]).size, (a, b)
    for split in ("val", "test"):
        assert len(np.unique(ids[split])) == ids[split].size
    tiles = 2 * (270 // 64) * (450 // 64)
    per_tile = (64 - crop) // (stride or crop // 2) + 1
    held_out = sum(len(ids[split]) for split in ("val", "test")) // (64 // crop) ** 2
    assert len(ids["train"]) == (tiles - held_out) * per_tile**2


def test_the_split_of_photos_depends_on_the_seed_but_not_on_the_crop(store, numbered_pixels):
    whole = pixel_ids(store, PhotosConfig(crop=64))
    small = pixel_ids(store, PhotosConfig(crop=16))
    other = pixel_ids(store, PhotosConfig(crop=64, seed=1))
    for split in SPLITS:
        np.testing.assert_array_equal(np.unique(small[split]), np.unique(whole[split]))
    assert not np.array_equal(np.unique(other["test"]), np.unique(whole["test"]))


def test_photos_are_shuffled_and_limited(store, numbered_pixels):
    whole = pixel_ids(store, PhotosConfig(crop=16))
    few = pixel_ids(store, PhotosConfig(crop=16, train_limit=100, val_limit=10, test_limit=11))
    for split, rows in zip(SPLITS, (100, 10, 11), strict=True):
        np.testing.assert_array_equal(few[split], whole[split][:rows])


def test_flat_tiles_are_dropped_without_moving_the_others(store, numbered_pixels, monkeypatch):
    before = pixel_ids(store, PhotosConfig(crop=64))
    pictures = {name: pixels.copy() for name, pixels in photos.photographs().items()}
    pictures["a"][:, :64, :64] = 7
    monkeypatch.setattr(photos, "photographs", lambda: pictures)
    after = pixel_ids(store, PhotosConfig(crop=64, name="other"))
    gone = 0
    for split in SPLITS:
        assert set(after[split][:, 0, 0]) <= set(before[split][:, 0, 0])
        gone += len(before[split]) - len(after[split])
    assert gone == 1


def test_the_real_photos(store):
    manifest = prepare(PhotosConfig(), store)
    assert (manifest.event_shape, manifest.bins, manifest.kind) == ((3, 32, 32), 256, "image")
    rows = {split: manifest.splits[split].rows for split in SPLITS}
    assert rows["train"] > 6000
    assert rows["val"] > 300
    assert rows["test"] > 450
    assert load_split(store, manifest, "test").x.float().std() > 40


def test_photos_without_the_packages_say_what_to_install(store, monkeypatch):
    monkeypatch.setattr(photos, "find_spec", lambda package: None)
    with pytest.raises(DataError, match=r"'skimage'.*pip install flowkd\[photos\]"):
        prepare(PhotosConfig(), store)


def test_digits_without_scikit_learn_say_what_to_install(store, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match=r"'sklearn'.*pip install flowkd\[photos\]"):
        prepare(DigitsConfig(), store)


def test_digits_are_all_there_once_with_their_classes(store):
    manifest = prepare(DigitsConfig(), store)
    assert (manifest.event_shape, manifest.bins, manifest.classes) == ((1, 8, 8), 17, 10)
    assert [manifest.splits[split].rows for split in SPLITS] == [1200, 250, 347]
    found = []
    for split in SPLITS:
        part = load_split(store, manifest, split)
        found += zip(part.x.numpy().reshape(-1, 64).tolist(), part.context.tolist(), strict=True)
    digits = load_digits()
    expected = zip(digits.data.astype(int).tolist(), digits.target.tolist(), strict=True)
    assert sorted(found) == sorted(expected)


def test_digits_without_labels_have_no_context(store):
    manifest = prepare(DigitsConfig(labels=False), store)
    assert manifest.classes is None
    assert load_split(store, manifest, "val").context is None


def test_an_equal_config_returns_the_existing_dataset_at_once(store, numbered_pixels, monkeypatch):
    first = prepare(PhotosConfig(crop=16), store)
    monkeypatch.setattr(photos, "photographs", lambda: pytest.fail("prepared again"))
    assert prepare(PhotosConfig(crop=16), store) == first


def test_another_config_or_a_lost_shard_prepares_anew(store, numbered_pixels):
    first = prepare(PhotosConfig(crop=16), store)
    second = prepare(PhotosConfig(crop=8), store)
    assert second.event_shape == (3, 8, 8)
    assert prepare(PhotosConfig(crop=16), store) == first
    shard = first.splits["val"].shards[0].file
    store.write(b"cut", "datasets", "photos", shard)
    assert prepare(PhotosConfig(crop=16), store) == first
    assert len(load_split(store, first, "val")) == first.splits["val"].rows


def test_the_kind_tells_which_dataset():
    class Job(Config):
        dataset: DatasetConfig

    for values, expected in (
        ({"kind": "photos", "crop": 8}, PhotosConfig(crop=8)),
        ({"kind": "digits"}, DigitsConfig()),
        ({"kind": "images", "source": "f", "name": "n"}, ImagesConfig(source="f", name="n")),
        ({"kind": "table", "source": "p", "name": "n"}, TableConfig(source="p", name="n")),
    ):
        assert parse_config(Job, {"dataset": values}, source="test").dataset == expected
    with pytest.raises(ConfigError, match=r"dataset\.crops: unknown key"):
        parse_config(Job, {"dataset": {"kind": "photos", "crops": 8}}, source="test")


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "photos", "crop": 7},
        {"kind": "photos", "crop": 2},
        {"kind": "photos", "crop": 66},
        {"kind": "photos", "train_limit": 0},
        {"kind": "digits", "name": "../digits"},
        {"kind": "digits", "name": ".hidden"},
        {"kind": "images", "name": "n", "source": "f", "crop": 32, "resize": 16},
        {"kind": "images", "name": "n", "source": "f", "crops": 3},
        {"kind": "table", "name": "n", "source": "p", "columns": []},
        {"kind": "table", "name": "n", "source": "p", "val_fraction": 0},
        {"kind": "moon"},
    ],
)
def test_faulty_configs_are_refused(values):
    with pytest.raises(ValidationError):
        TypeAdapter(DatasetConfig).validate_python(values)


def test_a_source_is_the_same_however_its_path_is_written(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "store"))
    x = np.random.default_rng(0).normal(size=(50, 2))
    for name in ("rows.csv", "others.csv"):
        np.savetxt(tmp_path / name, x, delimiter=",", header="a,b", comments="")
    monkeypatch.chdir(tmp_path)
    first = prepare(TableConfig(name="rows", source="rows.csv"), store)
    whole = TableConfig(name="rows", source=str(tmp_path / "rows.csv"))
    assert prepare(whole, store, replace=False) == first
    with pytest.raises(DatasetExistsError, match="source"):
        prepare(TableConfig(name="rows", source="others.csv"), store, replace=False)
