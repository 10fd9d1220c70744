"""Properties of stored datasets: what is written is what is read, and damage is noticed."""

import hashlib
import itertools
import pickle

import numpy as np
import pytest
import torch

from flowkd.data.manifest import (
    SPLITS,
    dataset_names,
    random_split,
    random_split_by_fraction,
    read_manifest,
)
from flowkd.data.reading import load_split
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError
from flowkd.store.sealed import read_sealed, write_sealed
from flowkd.store.store import Store
from tests.support.crashes import Crash, crash_at

ROWS = {"train": 50, "val": 7, "test": 9}


@pytest.fixture(params=["memory", "folder"])
def store(request, tmp_path):
    if request.param == "folder":
        yield Store(str(tmp_path / "store"))
        return
    memory = Store("memory://flowkd-test-data")
    yield memory
    memory.remove()


def arrays(kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == "digits":
        return {
            split: SplitArrays(
                rng.integers(0, 17, (rows, 1, 4, 6), np.uint8), rng.integers(0, 10, rows, np.int64)
            )
            for split, rows in ROWS.items()
        }
    width = 5 if kind == "table" else 1
    return {
        split: SplitArrays(
            rng.standard_normal((rows, width), np.float32),
            rng.standard_normal((rows, 2 if kind == "table" else 1), np.float32),
        )
        for split, rows in ROWS.items()
    }


def write(store, splits, name="a", **options):
    continuous = splits["train"].x.dtype == np.float32
    kind = {"kind": "table"} if continuous else {"kind": "image", "bins": 17, "classes": 10}
    return write_dataset(store, name, splits, source="test", **{**kind, **options})


def shard_file(store, manifest, split="train"):
    return store.path("datasets", manifest.name, manifest.splits[split].shards[0].file)


@pytest.mark.parametrize("kind", ["digits", "table", "one column"])
@pytest.mark.parametrize("shard_bytes", [100, 2**26])
def test_what_is_written_is_read_again(store, kind, shard_bytes):
    splits = arrays(kind)
    written = write(store, splits, shard_bytes=shard_bytes)
    manifest = read_manifest(store, "a")
    assert manifest == written
    assert len(manifest.splits["train"].shards) == (
        1 if shard_bytes > 100 else -(-50 // max(1, 100 // splits["train"].x[0].nbytes))
    )
    for split, expected in splits.items():
        found = load_split(store, manifest, split)
        assert found.x.dtype == (torch.uint8 if kind == "digits" else torch.float32)
        assert manifest.splits[split].rows == ROWS[split] == len(found)
        assert tuple(found.x.shape[1:]) == manifest.event_shape
        np.testing.assert_array_equal(found.x.numpy(), expected.x)
        np.testing.assert_array_equal(found.context.numpy(), expected.context)
        assert found.context.numpy().dtype == expected.context.dtype


@pytest.mark.parametrize("limit", [1, 11, 49, 1000])
def test_limit_keeps_the_first_rows(store, limit):
    splits = arrays("digits")
    found = load_split(store, write(store, splits, shard_bytes=240), "train", limit=limit)
    np.testing.assert_array_equal(found.x.numpy(), splits["train"].x[:limit])
    np.testing.assert_array_equal(found.context.numpy(), splits["train"].context[:limit])


def test_shards_carry_their_checksum_and_size(store):
    manifest = write(store, arrays("table"), shard_bytes=200)
    for split in manifest.splits.values():
        for shard in split.shards:
            data = store.read("datasets", "a", shard.file)
            assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)


def test_a_rewrite_replaces_every_shard(store):
    before = write(store, arrays("digits", seed=0))
    after = write(store, arrays("digits", seed=1))
    files = {shard.file for split in after.splits.values() for shard in split.shards}
    assert set(store.list("datasets", "a")) == files | {"manifest.json"}
    with pytest.raises(DataError, match="missing"):
        load_split(store, before, "train")


def test_a_rewrite_that_is_cut_short_leaves_the_older_dataset(store, monkeypatch):
    before = write(store, arrays("digits", seed=0))

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("flowkd.data.writing.write_sealed", full)
    with pytest.raises(OSError, match="no space"):
        write(store, arrays("digits", seed=1))
    assert read_manifest(store, "a") == before
    np.testing.assert_array_equal(
        load_split(store, before, "train").x.numpy(), arrays("digits", seed=0)["train"].x
    )


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_leaves_the_older_dataset_or_the_new(store, monkeypatch, after):
    write(store, arrays("digits", seed=0))
    old, new = (arrays("digits", seed=seed)["train"].x.tolist() for seed in (0, 1))
    found = [old]
    for number in itertools.count(1):
        with monkeypatch.context() as patch:
            crash_at(patch, number, after=after)
            try:
                write(store, arrays("digits", seed=1))
                break
            except Crash:
                pass
        found.append(load_split(store, read_manifest(store, "a"), "train").x.tolist())
    assert number > 3
    assert found.index(new) == found.count(old)  # from some call on it is the new one
    assert found.count(old) + found.count(new) == len(found)


@pytest.mark.parametrize(("count", "val", "test"), [(3, 1, 1), (10, 2, 3), (100, 10, 15)])
def test_splits_share_no_row_and_leave_none_out(count, val, test):
    fractions = {"val_fraction": val / count, "test_fraction": test / count, "what": "rows"}
    for splits in (
        random_split(count, val=val, test=test, seed=1),
        random_split_by_fraction(count, **fractions, seed=1),
    ):
        assert [len(splits[split]) for split in SPLITS] == [count - val - test, val, test]
        assert sorted(np.concatenate(list(splits.values()))) == list(range(count))


def test_a_missing_dataset_is_named_with_those_that_exist(store):
    write(store, arrays("table"), name="here")
    store.write(b"x", "datasets", "unfinished", "train-00000-0.parquet")
    assert dataset_names(store) == ["here"]
    with pytest.raises(DataError) as error:
        read_manifest(store, "gone")
    for part in ("'gone'", store.uri, "datasets there: here)", "python -m jobs.prepare --config"):
        assert part in str(error.value)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 2, "name": "a"}'])
def test_an_unreadable_manifest_is_refused_and_can_be_replaced(store, content):
    store.write(content, "datasets", "a", "manifest.json")
    with pytest.raises(DataError, match="prepare the dataset again"):
        read_manifest(store, "a")
    assert write(store, arrays("table")) == read_manifest(store, "a")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"event_shape": [2**64, 4, 6]}, r"event_shape\.0: expected a whole number within 64 bits"),
        ({"event_shape": [2**62, 4, 6]}, r"no memory for 50 rows of \(4611686018427387904, 4, 6\)"),
        ({"event_shape": [2**58, 4, 6]}, "no memory for 50 rows of"),
        ({"event_shape": [0, 4, 6]}, r"event_shape\.0: .* greater than or equal to 1; got 0"),
        ({"event_shape": []}, "event_shape: .* at least 1 item"),
        ({"classes": None, "context_size": 2**62}, "no memory for 50 rows"),
        ({"classes": None, "context_size": 10**4}, "expected column 'context' of 10000 float"),
        ({"context_size": 3}, "expected classes or context_size; got both"),
        ({"bins": 2**40}, "bins: .*less than or equal to 256"),
        ({"class_names": ["a"]}, "class_names: expected 10; got 1"),
        ({"mean": [0.0, 1.0]}, "mean: expected 1; got 2"),
        ({"columns": ["a"]}, "columns: expected none; got 1"),
        ({"context_mean": [0.0, 1.0]}, "context_mean: expected 1; got 2"),
        ({"splits": {}}, r"expected splits train, val, test; got \[\]"),
        ({"columns": [1] * 300}, r"columns\.9: .*\n  \.\.\. and 290 more faults"),
    ],
)
def test_a_manifest_that_contradicts_itself_or_what_memory_holds_is_named(store, changes, message):
    write(store, arrays("digits"))
    values = read_sealed(store, "datasets", "a", "manifest.json")
    write_sealed(store, {**values, **changes}, "datasets", "a", "manifest.json")
    with pytest.raises(DataError, match=message) as caught:
        load_split(store, read_manifest(store, "a"), "train")
    assert "dataset 'a'" in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("rows", [-1, 49, 2**64])
def test_rows_that_its_shards_have_not_are_refused(store, rows):
    write(store, arrays("digits"))
    values = read_sealed(store, "datasets", "a", "manifest.json")
    values["splits"]["train"]["rows"] = rows
    write_sealed(store, values, "datasets", "a", "manifest.json")
    with pytest.raises(DataError, match=r"splits\.train.*expected|splits\.train\.rows: .*than"):
        read_manifest(store, "a")


def test_a_truncated_shard_is_named_with_both_sizes(store):
    manifest = write(store, arrays("digits"))
    shard = manifest.splits["val"].shards[0]
    data = store.read("datasets", "a", shard.file)
    store.write(data[:-10], "datasets", "a", shard.file)
    with pytest.raises(DataError) as error:
        load_split(store, manifest, "val")
    message = str(error.value)
    assert f"expected {shard.bytes} bytes; got {shard.bytes - 10}" in message
    assert shard.file in message
    assert "prepare it again" in message
    assert len(load_split(store, manifest, "train")) == 50


def test_a_flipped_bit_is_noticed(store):
    manifest = write(store, arrays("digits"))
    shard = manifest.splits["test"].shards[0]
    data = bytearray(store.read("datasets", "a", shard.file))
    data[len(data) // 2] ^= 1
    store.write(bytes(data), "datasets", "a", shard.file)
    with pytest.raises(DataError, match=f"{shard.file}.* corrupt: expected SHA-256 {shard.sha256}"):
        load_split(store, manifest, "test")


def test_a_missing_shard_is_named(store):
    manifest = write(store, arrays("digits"))
    store.fs.rm(shard_file(store, manifest))
    with pytest.raises(DataError, match=f"{manifest.splits['train'].shards[0].file}.* is missing"):
        load_split(store, manifest, "train")


def test_a_shard_of_another_shape_than_the_manifest_says_is_refused(store):
    manifest = write(store, arrays("digits"))
    with pytest.raises(DataError, match=r"expected column 'x' of 25 uint8.*\[24\]"):
        load_split(store, manifest.model_copy(update={"event_shape": (1, 5, 5)}), "train")
    with pytest.raises(DataError, match="expected x below 16; got 16"):
        load_split(store, manifest.model_copy(update={"bins": 16}), "train")


def test_a_manifest_that_names_other_places_or_rows_is_refused(store):
    manifest = write(store, arrays("digits"))
    split = manifest.splits["train"]
    for changes, message in (
        ({"file": "../../secret"}, "expected a path inside"),
        ({"file": "/etc/passwd"}, "expected a path inside"),
        ({"rows": 10**6}, "expected 1000000 rows; got 50"),
    ):
        shard = split.shards[0].model_copy(update=changes)
        faulty = {**manifest.splits, "train": split.model_copy(update={"shards": [shard]})}
        with pytest.raises(DataError, match=message):
            load_split(store, manifest.model_copy(update={"splits": faulty}), "train")


@pytest.mark.parametrize("data", [b"not a table", pickle.dumps([1, 2]), b"PAR1" + bytes(8)])
def test_a_shard_that_is_no_table_is_refused(store, data):
    manifest = write(store, arrays("digits"))
    split = manifest.splits["train"]
    store.write(data, "datasets", "a", split.shards[0].file)
    digest = hashlib.sha256(data).hexdigest()
    shard = split.shards[0].model_copy(update={"sha256": digest, "bytes": len(data)})
    faulty = {**manifest.splits, "train": split.model_copy(update={"shards": [shard]})}
    with pytest.raises(DataError, match=f"{shard.file}.*is not Parquet"):
        load_split(store, manifest.model_copy(update={"splits": faulty}), "train")


def test_an_unknown_split_and_a_limit_of_nothing_are_refused(store):
    manifest = write(store, arrays("table"))
    with pytest.raises(DataError, match="no split 'valid'; expected one of train, val, test"):
        load_split(store, manifest, "valid")
    with pytest.raises(ValueError, match="at least 1; got 0"):
        load_split(store, manifest, "train", limit=0)


X = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("splits", "options", "message"),
    [
        ({"train": SplitArrays(X)}, {}, r"expected splits .*; got \['train'\]"),
        (dict.fromkeys(ROWS, SplitArrays(X.astype(np.float64))), {}, "expected float32 x"),
        (dict.fromkeys(ROWS, SplitArrays(X)), {"bins": 256}, "expected uint8 x for bins=256"),
        (
            {**dict.fromkeys(ROWS, SplitArrays(X)), "val": SplitArrays(X[:0])},
            {},
            "split 'val'; got none",
        ),
        (
            {**dict.fromkeys(ROWS, SplitArrays(X)), "val": SplitArrays(X[:, :1])},
            {},
            r"\(2,\) .*got \(1,\)",
        ),
        (
            {**dict.fromkeys(ROWS, SplitArrays(X)), "val": SplitArrays(X, X)},
            {},
            "context of shape None",
        ),
        (dict.fromkeys(ROWS, SplitArrays(X, X[:, 0])), {"classes": 3}, "expected int64 context"),
        (
            dict.fromkeys(ROWS, SplitArrays(X, X)),
            {"classes": 3},
            r"expected context of shape \(3,\) .*got \(3, 2\)",
        ),
    ],
)
def test_faulty_arrays_are_refused_before_anything_is_written(store, splits, options, message):
    with pytest.raises((ValueError, DataError), match=message):
        write_dataset(store, "a", splits, kind="table", source="test", **options)
    assert store.list("datasets") == []
