"""CIFAR-10 in both published formats: pixels, labels and splits; bad archives; going on."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from flowkd.data.importers import cifar
from flowkd.data.importers.cifar import CifarConfig
from flowkd.data.importers.prepare import prepare
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import DataError
from tests.flowkd.data.importers.test_unpickling import python2

ROWS = 20
STEMS = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
# The order in which the published archives have their members.
BINARY = ["data_batch_1", "data_batch_3", "data_batch_5", "data_batch_4", "data_batch_2"]
PYTHON = ["data_batch_4", "test_batch", "data_batch_3", "data_batch_2", "data_batch_5"]
NAMES = [
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
]  # fmt: skip


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(cifar, "ROWS", ROWS)


def batch(stem):
    """A batch's pictures, of which the first pixel is batch and row, and its labels."""
    rng = np.random.default_rng(STEMS.index(stem))
    x = rng.integers(0, 256, (ROWS, 3, 32, 32), np.uint8)
    x[:, 0, 0, 0] = STEMS.index(stem)
    x[:, 0, 0, 1] = np.arange(ROWS)
    return x, rng.integers(0, 10, ROWS)


def binary(stem):
    x, y = batch(stem)
    return b"".join(
        bytes([label]) + row.tobytes() for label, row in zip(y.tolist(), x, strict=True)
    )


def python(stem):
    x, y = batch(stem)
    return python2(x.reshape(ROWS, -1), y.tolist())


def published(kind):
    """The files of an archive, in its order."""
    if kind == "binary":
        folder, meta = "cifar-10-batches-bin/", {"batches.meta.txt": "\n".join(NAMES).encode()}
        files = {f"{stem}.bin": binary(stem) for stem in [*BINARY, "test_batch"]}
    else:
        folder, meta = "cifar-10-batches-py/", {"batches.meta": b"ignored", "readme.html": b"<p>"}
        files = {stem: python(stem) for stem in [*PYTHON, "data_batch_1"]}
    return {folder + name: data for name, data in {**meta, **files}.items()}


def archive(path, files):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def extracted(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def imported(store, source, **options):
    manifest = prepare(CifarConfig(source=str(source), **options), store)
    return manifest, {split: load_split(store, manifest, split) for split in manifest.splits}


SOURCES = {
    "binary.tar.gz": lambda path: archive(path / "cifar-10-binary.tar.gz", published("binary")),
    "python.tar.gz": lambda path: archive(path / "cifar-10-python.tar.gz", published("python")),
    "binary": lambda path: extracted(path / "here", published("binary")),
    "python": lambda path: extracted(path / "here", published("python")) / "cifar-10-batches-py",
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_pixel_and_label_is_there_once_in_its_split(memory_store, tmp_path, kind):
    manifest, splits = imported(memory_store, SOURCES[kind](tmp_path), val_rows=11)
    assert (manifest.event_shape, manifest.bins, manifest.classes) == ((3, 32, 32), 256, 10)
    assert manifest.class_names == NAMES
    assert {split: part.rows for split, part in manifest.splits.items()} == {
        "train": 89, "val": 11, "test": 20,
    }  # fmt: skip
    seen = set()
    for split, part in splits.items():
        for x, label in zip(part.x.numpy(), part.context.tolist(), strict=True):
            stem, row = STEMS[x[0, 0, 0]], int(x[0, 0, 1])
            pixels, labels = batch(stem)
            assert np.array_equal(x, pixels[row])
            assert label == labels[row]
            assert (stem == "test_batch") == (split == "test")
            seen.add((stem, row))
    assert len(seen) == 6 * ROWS
    of_val = np.bincount(splits["val"].x[:, 0, 0, 0].numpy(), minlength=5)
    assert of_val.tolist() == [3, 2, 2, 2, 2]


def test_both_formats_give_the_same_splits_and_another_seed_others(memory_store, tmp_path):
    chosen = []
    for kind, seed in (("binary", 0), ("python", 0), ("binary", 1)):
        source = extracted(tmp_path / kind, published(kind))
        _, splits = imported(memory_store, source, val_rows=10, seed=seed, name=f"{kind}-{seed}")
        chosen.append({x.tobytes() for x in splits["val"].x.numpy()})
    assert chosen[0] == chosen[1] != chosen[2]


def test_without_labels_there_is_no_context(memory_store, tmp_path):
    source = SOURCES["binary"](tmp_path)
    manifest, splits = imported(memory_store, source, labels=False, val_rows=5)
    assert (manifest.classes, manifest.class_names) == (None, None)
    assert all(part.context is None for part in splits.values())


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def changed(kind, name, data):
    """An archive of which one member is another, or gone."""
    files = published(kind)
    path = next(path for path in files if path.endswith("/" + name))
    files[path] = data
    return {path: data for path, data in files.items() if data is not None}


@pytest.mark.parametrize("pack", [archive, extracted])
@pytest.mark.parametrize(
    ("kind", "name", "data", "message"),
    [
        ("binary", "data_batch_4.bin", None, "missing in .*: data_batch_4; expected each of"),
        ("python", "test_batch", None, "missing in .*: test_batch;"),
        ("binary", "data_batch_2.bin", bytes(19 * 3073),
         r"expected 20 rows of 3,073 bytes, 61,460 bytes, in .*data_batch_2\.bin.* got 58,387 b"),
        ("binary", "test_batch.bin", bytes([10]) + bytes(20 * 3073 - 1),
         r"expected labels 0 to 9 in .*test_batch\.bin in .*; got 0 to 10"),
        ("python", "data_batch_3", python("data_batch_3")[:-2000],
         "data_batch_3 in .* cannot be read as a pickle, or is cut off"),
        ("python", "data_batch_3", pickle.dumps([1, 2]),
         r"expected keys 'data' and 'labels' in .*data_batch_3 in .*; got list"),
        ("python", "data_batch_3", pickle.dumps({"data": 1, "fine_labels": []}),
         r"expected keys 'data' and 'labels' .*; got \['data', 'fine_labels'\]"),
        ("python", "data_batch_3",
         pickle.dumps({"data": np.zeros((19, 3072), np.uint8), "labels": [0] * 19}),
         r"expected data of 20 rows of 3,072 uint8 .*data_batch_3.*; got shape \(19, 3072\)"),
        ("python", "data_batch_3",
         pickle.dumps({"data": np.zeros((20, 3072), np.uint8), "labels": [0] * 19 + [[]]}),
         "expected 20 integer labels in .*data_batch_3"),
    ],
)  # fmt: skip
def test_a_bad_member_is_named(memory_store, tmp_path, pack, kind, name, data, message):
    source = pack(tmp_path / "mine.tar.gz", changed(kind, name, data))
    with pytest.raises(DataError, match=message):
        imported(memory_store, source, val_rows=5)
    with pytest.raises(DataError, match="no dataset"):
        read_manifest(memory_store, "cifar10")


def test_a_pickle_that_would_run_a_command_does_not(memory_store, tmp_path):
    made = tmp_path / "made"
    files = changed("python", "data_batch_4", pickle.dumps(Evil(made)))
    with pytest.raises(DataError, match=r"data_batch_4 in .* is refused: .*\.system.* run code"):
        imported(memory_store, archive(tmp_path / "evil.tar.gz", files), val_rows=5)
    assert not made.exists()


def test_a_member_far_too_large_is_refused_unread(memory_store, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "MAX_PICKLE_BYTES", 2**20)
    files = changed("python", "data_batch_4", bytes(2**20 + 1))
    with pytest.raises(DataError, match=r"data_batch_4 in .* at most 1,048,576 bytes"):
        imported(memory_store, archive(tmp_path / "bomb.tar.gz", files), val_rows=5)


def test_a_batch_that_is_there_twice_is_told(memory_store, tmp_path):
    for kind in ("binary", "python"):
        extracted(tmp_path / "both", published(kind))
    with pytest.raises(DataError, match=r"expected data_batch_1 once; found .*-bin/.* and .*-py/"):
        imported(memory_store, tmp_path / "both", val_rows=5)
    assert memory_store.list("datasets") == []


def test_too_many_val_rows_are_refused(memory_store, tmp_path):
    with pytest.raises(DataError, match="expected val_rows below the 100 rows of train; got 100"):
        imported(memory_store, SOURCES["binary"](tmp_path), val_rows=100)


@pytest.mark.parametrize("kind", ["binary.tar.gz", "python.tar.gz"])
def test_an_archive_cut_off_is_invisible_and_the_whole_one_is_read_anew(
    memory_store, tmp_path, kind
):
    path = SOURCES[kind](tmp_path)
    whole = path.read_bytes()
    for part in (0.0, 0.1, 0.5, 0.9, 0.999):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(DataError, match=rf"{path.name}.* is cut off"):
            imported(memory_store, path, val_rows=5)
        with pytest.raises(DataError, match="no dataset"):
            read_manifest(memory_store, "cifar10")
    path.write_bytes(whole)
    manifest, _ = imported(memory_store, path, val_rows=5)
    files = {shard.file for split in manifest.splits.values() for shard in split.shards}
    assert set(memory_store.list("datasets", "cifar10")) == files | {"manifest.json"}


class Interrupted(BaseException):
    """Somebody pressed Ctrl-C."""


@pytest.mark.parametrize("kind", SOURCES)
def test_an_interrupted_import_goes_on_with_the_batch_where_it_was(
    memory_store, tmp_path, monkeypatch, kind
):
    source = SOURCES[kind](tmp_path)
    _, expected = imported(memory_store, source, val_rows=5, name="whole")
    decoded = []
    original = cifar._read

    def read(member, *arguments):
        decoded.append(member.name)
        if len(decoded) == 4:
            raise Interrupted
        return original(member, *arguments)

    monkeypatch.setattr(cifar, "_read", read)
    with pytest.raises(Interrupted):
        imported(memory_store, source, val_rows=5)
    with pytest.raises(DataError, match="no dataset 'cifar10'"):
        read_manifest(memory_store, "cifar10")
    _, splits = imported(memory_store, source, val_rows=5)
    assert len(decoded) == 7  # three, the fourth twice, and the other two
    assert len(set(decoded)) == 6
    for split, part in splits.items():
        found, whole = ({x.tobytes() for x in p[split].x.numpy()} for p in (splits, expected))
        assert found == whole
        assert len(part.x) == len(found)
