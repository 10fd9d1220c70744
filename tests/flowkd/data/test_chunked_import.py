"""An import that is cut short leaves the older dataset as it was, and goes on where it stopped."""

import itertools

import numpy as np
import pytest

from flowkd.data.chunked_import import PROGRESS, ImportChunk, import_chunks
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.data.reading import load_split
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError
from flowkd.store.store import Store

KEYS = ("a", "b", "c")
CALLS = ("read", "write", "exists", "remove")


class Crash(BaseException):
    """The process is gone."""


def rows(key, split, count=5):
    start = 1 + 40 * KEYS.index(key) + 10 * ("train", "val", "test").index(split)
    return np.arange(start, start + count, dtype=np.uint8).reshape(-1, 1, 1, 1)


def parts(read, version=0):
    """Three parts that note when they are read."""

    def part(key):
        def arrays():
            read.append(key)
            splits = ("train", "val", "test") if key == "b" else ("train",)
            return {split: SplitArrays(rows(key, split) + version) for split in splits}

        return ImportChunk(key, arrays)

    return [part(key) for key in KEYS]


def about(**config):
    return Manifest(
        name="mine", kind="image", event_shape=(1, 1, 1), bins=256, splits={}, source="a test",
        config=config,
    )  # fmt: skip


def values(store, split):
    return load_split(store, read_manifest(store, "mine"), split).x.flatten().tolist()


@pytest.fixture(params=["memory_store", "local_store"])
def store(request):
    return request.getfixturevalue(request.param)


def test_parts_become_one_dataset_in_several_shards(store):
    manifest = import_chunks(store, about(), parts([]), fingerprint="f", shard_bytes=2)
    assert manifest == read_manifest(store, "mine")
    assert [len(split.shards) for split in manifest.splits.values()] == [9, 3, 3]
    expected = np.concatenate([rows(key, "train") for key in KEYS]).flatten().tolist()
    assert sorted(values(store, "train")) == expected
    assert values(store, "train") != expected  # shuffled, within a part
    assert sorted(values(store, "train")[:5]) == expected[:5]
    assert values(store, "test") == rows("b", "test").flatten().tolist()
    files = {shard.file for split in manifest.splits.values() for shard in split.shards}
    assert set(store.list("datasets", "mine")) == files | {"manifest.json"}


@pytest.mark.parametrize("forgets", [False, True])
def test_an_import_cut_short_anywhere_is_invisible_and_goes_on(store, monkeypatch, forgets):
    import_chunks(store, about(version=0), parts([]), fingerprint="f")
    expected = [value + 1 for value in values(store, "train")]
    before = values(store, "train")
    read = []
    for number in itertools.count(1):
        count = itertools.count(1)

        def patched(original, count=count, number=number):
            def call(self, *arguments):
                if next(count) >= number:
                    raise Crash
                return original(self, *arguments)

            return call

        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(Store, name, patched(getattr(Store, name)))
            try:
                import_chunks(store, about(version=1), parts(read, 1), fingerprint="f")
                break
            except Crash:
                pass
        assert values(store, "train") in (before, expected)
        if forgets:
            store.remove("datasets", "mine", PROGRESS)
    assert values(store, "train") == expected
    if forgets:
        assert number > 12  # every single call was the last one once
    else:  # each attempt went on with the part in which the one before had stopped
        assert read == sorted(read)
        assert number < 12


def test_what_is_done_is_not_read_again_but_another_source_is_read_anew(store):
    read = []
    broken = [*parts(read)[:2], ImportChunk("c", lambda: {}["gone"])]
    with pytest.raises(KeyError):
        import_chunks(store, about(), broken, fingerprint="f")
    with pytest.raises(DataError, match="no dataset"):
        read_manifest(store, "mine")
    import_chunks(store, about(), parts(read), fingerprint="f")
    assert read == ["a", "b", "c"]
    with pytest.raises(KeyError):
        import_chunks(store, about(), broken, fingerprint="f")
    read.clear()
    import_chunks(store, about(), parts(read, 100), fingerprint="g")
    assert read == ["a", "b", "c"]
    files = {
        shard.file
        for split in read_manifest(store, "mine").splits.values()
        for shard in split.shards
    }
    assert set(store.list("datasets", "mine")) == files | {"manifest.json"}


def test_a_split_without_rows_is_refused(store):
    with pytest.raises(DataError, match="split 'val'"):
        import_chunks(store, about(), parts([])[:1], fingerprint="f")


def test_a_strict_import_with_a_remark_reads_nothing(store):
    read: list[str] = []
    draft = about(strict=True).model_copy(update={"remarks": ["It is not what it seems."]})
    with pytest.raises(DataError, match=r"`strict` refuses .*\n- It is not what it seems\."):
        import_chunks(store, draft, parts(read), fingerprint="f")
    assert (read, store.list("datasets")) == ([], [])


def test_groups_are_counted_over_parts_and_attempts(memory_store):
    def grouped(stop=None):
        for number, key in enumerate(KEYS):
            if key == stop:
                raise Crash
            groups = np.array([0, 0, 0, 1, 1], np.int64) + 2 * number
            found = {
                split: SplitArrays(rows(key, split), group=groups + 10 * place)
                for place, split in enumerate(("train", "val", "test"))
            }
            yield ImportChunk(key, lambda found=found: found)

    draft = about().model_copy(update={"group": "file"})
    with pytest.raises(Crash):
        import_chunks(memory_store, draft, grouped(stop="c"), fingerprint="f")
    manifest = import_chunks(memory_store, draft, grouped(), fingerprint="f")
    assert [split.groups for split in manifest.splits.values()] == [6, 6, 6]
    train = load_split(memory_store, manifest, "train")
    # Shuffled as their rows are: rows 0 to 2 of each part are of its first group.
    assert ((train.x.flatten() - 1) % 40 > 2).long().tolist() == (train.group % 2).tolist()
