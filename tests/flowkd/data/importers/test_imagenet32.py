"""ImageNet32 as npz and as pickles, zipped or not: pixels, labels, splits; hostile files."""

import io
import os
import pickle
import tracemalloc
import weakref
import zipfile

import numpy as np
import pytest

from flowkd.data.importers import imagenet32
from flowkd.data.importers.imagenet32 import Imagenet32Config
from flowkd.data.importers.npz import read_npz
from flowkd.data.importers.prepare import prepare
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError

# A tenth each, and what remains in the last one, as published: 128,116 and 128,123.
ROWS = {**{f"train_data_batch_{number}": 12 for number in range(1, 10)}, "train_data_batch_10": 15}
ROWS["val_data"] = 21
STEMS = list(ROWS)


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(imagenet32, "TRAIN_ROWS", 9 * 12 + 15)
    monkeypatch.setattr(imagenet32, "TEST_ROWS", 21)


def batch(stem, size=32):
    """A batch, of which the first pixel is batch and row; labels begin with 1."""
    rng = np.random.default_rng(STEMS.index(stem))
    x = rng.integers(0, 256, (ROWS[stem], 3, size, size), np.uint8)
    x[:, 0, 0, 0] = STEMS.index(stem)
    x[:, 0, 0, 1] = np.arange(ROWS[stem])
    y = rng.integers(1, 1001, ROWS[stem])
    y[:2] = 1, 1000
    return x, y


def npz(stem, **changes):
    x, y = batch(stem)
    arrays = {"data": x.reshape(len(x), -1), "labels": y}
    if stem != "val_data":
        arrays["mean"] = np.zeros(3072)
    sink = io.BytesIO()
    np.savez(sink, **{**arrays, **changes})
    return sink.getvalue()


def pickled(stem, **changes):
    x, y = batch(stem)
    arrays = {"data": x.reshape(len(x), -1), "labels": y.tolist(), "mean": np.zeros(3072)}
    return pickle.dumps({**arrays, **changes}, 3)


def published(kind, **replaced):
    """The files of the train and of the val download, by archive."""
    write, suffix = (npz, ".npz") if kind == "npz" else (pickled, "")
    files = {stem: replaced.get(stem, write(stem)) for stem in STEMS}
    kept = {stem + suffix: data for stem, data in files.items() if data is not None}
    end = "_npz.zip" if kind == "npz" else ".zip"
    return {
        f"Imagenet32_{split}{end}": {k: v for k, v in kept.items() if k.startswith(split)}
        for split in ("train", "val")
    }


def zips(path, archives):
    path.mkdir(exist_ok=True)
    for name, files in archives.items():
        with zipfile.ZipFile(path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for file, data in files.items():
                archive.writestr(file, data)
    return path


def extracted(path, archives):
    for name, files in archives.items():
        folder = path / name.removesuffix(".zip")
        folder.mkdir(parents=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
    return path


def imported(store, source, **options):
    config = Imagenet32Config(source=str(source), **{"val_rows": 13, **options})
    manifest = prepare(config, store)
    return manifest, {split: load_split(store, manifest, split) for split in manifest.splits}


@pytest.mark.parametrize("kind", ["npz", "pickles"])
@pytest.mark.parametrize("form", ["two zips", "folder of zips", "folder"])
def test_every_pixel_and_label_is_there_once_in_its_split(memory_store, tmp_path, kind, form):
    archives = published(kind)
    folder = (extracted if form == "folder" else zips)(tmp_path / "here", archives)
    if form == "two zips":
        train, test = (folder / name for name in archives)
        manifest, splits = imported(memory_store, train, test_source=str(test))
    else:
        manifest, splits = imported(memory_store, folder)
    assert (manifest.event_shape, manifest.bins, manifest.classes) == ((3, 32, 32), 256, 1000)
    assert [manifest.splits[split].rows for split in splits] == [110, 13, 21]
    seen = set()
    for split, part in splits.items():
        for x, label in zip(part.x.numpy(), part.context.tolist(), strict=True):
            stem, row = STEMS[x[0, 0, 0]], int(x[0, 0, 1])
            pixels, labels = batch(stem)
            assert np.array_equal(x, pixels[row])
            assert label == labels[row] - 1
            assert (stem == "val_data") == (split == "test")
            seen.add((stem, row))
    assert len(seen) == 144
    of_val = np.bincount(splits["val"].x[:, 0, 0, 0].numpy(), minlength=10)
    assert of_val.tolist() == [2, 2, 2, 1, 1, 1, 1, 1, 1, 1]
    assert any("Pixel Recurrent" in remark for remark in manifest.remarks)


def test_without_the_val_download_it_says_what_is_missing(memory_store, tmp_path):
    folder = zips(tmp_path / "here", published("npz"))
    with pytest.raises(DataError, match=r"missing in .*: val_data; expected each of"):
        imported(memory_store, folder / "Imagenet32_train_npz.zip")


X, Y = batch("train_data_batch_3")
FLAT = X.reshape(12, -1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": Y - 1}, "expected labels 1 to 1000 in .*; got 0 to 999"),
        ({"labels": Y[:-1]}, r"expected 12 integer labels in .*; got shape \(11,\)"),
        ({"labels": Y.astype(float)}, "expected 12 integer labels"),
        ({"data": FLAT[:-1]}, r"data of 12 rows of 3,072 uint8 .*; got shape \(11, 3072\)"),
        ({"data": FLAT.astype(np.int16)}, r"got shape \(12, 3072\) of int16"),
        ({"data": np.zeros((12, 12288), np.uint8)}, r"\(12, 12288\) of uint8, which are of 64x64"),
    ],
)
@pytest.mark.parametrize("write", [npz, pickled])
def test_a_batch_of_another_content_is_named(memory_store, tmp_path, write, changes, message):
    kind = "npz" if write is npz else "pickles"
    archives = published(kind, train_data_batch_3=write("train_data_batch_3", **changes))
    with pytest.raises(DataError, match=message) as error:
        imported(memory_store, extracted(tmp_path / "here", archives))
    assert "train_data_batch_3" in str(error.value)
    with pytest.raises(DataError, match="no dataset"):
        read_manifest(memory_store, "imagenet32")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("kind", ["npz", "pickles"])
def test_a_pickle_that_would_run_a_command_does_not(memory_store, tmp_path, kind):
    made = tmp_path / "made"
    evil = np.array([[Evil(made)]], dtype=object)
    write = npz if kind == "npz" else pickled
    archives = published(kind, train_data_batch_2=write("train_data_batch_2", data=evil))
    with pytest.raises(DataError, match=r"train_data_batch_2.* (run code|needs pickle)"):
        imported(memory_store, zips(tmp_path / "here", archives))
    assert not made.exists()


def packed(header, body=b""):
    """An .npz of which data has the header given."""
    sink = io.BytesIO()
    with (
        zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("data.npy", "w") as file,
    ):
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        file.write(body)
    return sink.getvalue()


def header(shape, descr="|u1"):
    return repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (packed(header((2**40,))), "expected 1,099,511,627,776 bytes of shape .*; it has 0"),
        (packed(header((3,)), b"ab"), r"expected 3 bytes of shape \(3,\) in data of evil"),
        (packed(header((-1, -3)), b"abc"), r"of shape \(-1, -3\)"),
        (packed(header((1,), "|O"), b"12345678"), "expected numbers in data of evil"),
        (packed(header((1,), [("a", "|u1")]), b"1"), "expected numbers in data of evil"),
        (packed(b"__import__('os').system('true')\n"), "expected the header of a .npy file"),
        (packed(header((50 * 2**20,)), bytes(50 * 2**20)), "data of evil is refused: .* at most"),
        (packed(header((2,)), b"ab")[:-30], "evil is cut off or damaged"),
        (b"no zip", "evil is cut off or damaged"),
        (npz("val_data").replace(b"data.npy", b"datb.npy"), "expected arrays"),
    ],
)
def test_a_hostile_npz_is_refused_without_reserving_memory(data, message):
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            read_npz(data, "evil", {"data": 2**20})
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_batches_too_large_for_32x32_are_refused_unread(memory_store, tmp_path, monkeypatch):
    monkeypatch.setattr(imagenet32, "MAX_BATCH_BYTES", 30_000)
    with pytest.raises(DataError, match=r"at most 30,000 bytes, of 12 .*; those of 64x64 are not"):
        imported(memory_store, extracted(tmp_path / "here", published("npz")))


def test_npz_arrays_come_back_as_they_are():
    arrays = {"data": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "labels": np.array(5)}
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays, other=np.array([None]))
    found = read_npz(sink.getvalue(), "a", {"data": 48 + 128, "labels": 200})
    assert found.keys() == arrays.keys()
    for key, value in arrays.items():
        assert found[key].dtype == value.dtype
        assert np.array_equal(found[key], value)


class Marked(np.ndarray):
    """An array that a weak set may have."""

    __hash__ = object.__hash__


def test_no_two_batches_are_alive_at_a_time(memory_store, tmp_path, monkeypatch):
    alive, counts, original = weakref.WeakSet(), [], imagenet32._read

    def read(*arguments):
        counts.append(len(alive))
        found = {
            split: SplitArrays(arrays.x.view(Marked), arrays.context)
            for split, arrays in original(*arguments).items()
        }
        alive.update(arrays.x for arrays in found.values())
        return found

    monkeypatch.setattr(imagenet32, "_read", read)
    imported(memory_store, zips(tmp_path / "here", published("npz")))
    assert counts == [0] * 11
