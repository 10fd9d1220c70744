"""Rows of many shards: the same batches resident or streamed, of any number of workers."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from flowkd.data.loader import BatchLoader
from flowkd.data.prefetch import InMemoryBuffer, PrefetchBuffer
from flowkd.data.reading import StoredRows
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.errors import DataError

EVENT = (3, 2, 2)
ROWS, SHARD_ROWS = 1000, 9
ROW_BYTES = 12 + 8
SIZE = 24  # 12 partitions


class Counted(StoredRows):
    """Counts how often each shard is read."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.reads = Counter()

    def read_shard(self, number):
        self.reads[number] += 1
        return super().read_shard(number)


@pytest.fixture
def rows(memory_store):
    return stored(memory_store, ROWS)


def stored(store, count):
    """Returns what opens the rows of a new data set of many shards."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (count, *EVENT)).astype(np.uint8)
    part = SplitArrays(pixels, np.arange(count))
    manifest = write_dataset(
        store, "mine", dict.fromkeys(("train", "val", "test"), part), kind="image", source="a test",
        bins=256, classes=count, shard_bytes=SHARD_ROWS * 12,
    )  # fmt: skip

    def opened(limit=None):
        return Counted(store, manifest, "train", limit=limit)

    opened.store, opened.manifest = store, manifest
    return opened


def batches(rows, **options):
    settings = {"batch_size": SIZE, "seed": 3, "bins": 256, "latents": True}
    return BatchLoader(rows, **{**settings, **options})


def streamed(rows, **options):
    """The least memory with which a worker can stream."""
    partitions = math.ceil(12 / options.get("world", 1))
    return batches(rows, memory_gib=2 * partitions * SHARD_ROWS * ROW_BYTES / 2**30, **options)


def equal(a, b):
    return all(torch.equal(getattr(a, key), getattr(b, key)) for key in ("x", "context", "z"))


def test_streamed_and_resident_batches_are_the_same(rows):
    resident, stream = batches(rows()), streamed(rows())
    assert isinstance(resident._buffer, InMemoryBuffer)
    assert isinstance(stream._buffer, PrefetchBuffer)
    for step in (*range(60), 7, 300, 0):
        assert equal(resident.batch(step), stream.batch(step)), step


@pytest.mark.parametrize("kind", ["s3_store", "local_store"])
def test_every_kind_of_store_gives_the_same_stream(request, kind):
    source = stored(request.getfixturevalue(kind), 150)
    resident, stream = (
        batches(source(), batch_size=4),
        batches(source(), batch_size=4, memory_gib=1.5e-6),
    )
    assert isinstance(stream._buffer, PrefetchBuffer)
    assert all(equal(resident.batch(step), stream.batch(step)) for step in range(40))


def test_rows_keep_their_context(rows):
    pixels = rows().read_all()
    for step in range(20):
        batch = streamed(rows()).batch(step)
        assert torch.equal(batch.x.floor(), pixels.x[batch.context].float())


@pytest.mark.parametrize("make", [batches, streamed])
@pytest.mark.parametrize("world", [2, 3, 8])
def test_workers_together_see_the_global_batch_and_read_their_own_shards(rows, make, world):
    whole = batches(rows())
    sources = [rows() for _ in range(world)]
    workers = [make(each, rank=r, world=world) for r, each in enumerate(sources)]
    for step in range(60):
        shares = [worker.batch(step) for worker in workers]
        for key in ("x", "context", "z"):
            joined = torch.cat([getattr(share, key) for share in shares])
            assert torch.equal(joined, getattr(whole.batch(step), key)), (step, key)
    shards = len(sources[0].shard_sizes)
    most = shards * math.ceil(12 / world) / 12 + 2  # its partitions' own, and those at their ends
    assert all(len(source.reads) <= most for source in sources)
    assert set().union(*(source.reads for source in sources)) == set(range(shards))
    if make is batches:  # each is read once, though two partitions may want a part of it
        assert max(max(source.reads.values()) for source in sources) == 1


def test_each_epoch_of_a_shuffle_holds_each_row_once(rows):
    stream = streamed(rows(limit=480))
    for epoch in range(3):
        seen = torch.cat([stream.batch(20 * epoch + step).context for step in range(20)])
        assert torch.equal(seen.sort().values, torch.arange(480))


def test_a_resumed_run_sees_the_very_batch_that_comes_next(rows):
    before = streamed(rows())
    expected = [before.batch(step) for step in range(12)][11]
    source = rows()
    assert equal(streamed(source).batch(11), expected)
    assert source.reads.total() <= 4 * 12  # it reads where it is, not from the beginning


def test_a_stream_keeps_two_blocks_of_each_partition_whatever_the_size_of_the_data(rows):
    for limit in (400, ROWS):
        source = rows(limit=limit)
        stream = streamed(source)
        most = 0
        for step in range(60):
            stream.batch(step)
            kept = sum(len(future.result()) for future in stream._buffer._pending.values())
            most = max(most, kept)
        assert most <= 2 * 12 * SHARD_ROWS
        assert source.reads.total() > 40


def test_a_limit_too_small_to_stream_says_how_much_is_needed(rows):
    with pytest.raises(DataError, match=r"split 'train' of dataset 'mine', two blocks.*got 1e-09"):
        batches(rows(), memory_gib=1e-9)


@pytest.mark.parametrize("make", [batches, streamed])
def test_a_shard_that_is_damaged_stops_the_reader_with_its_name(rows, make):
    shard = rows.manifest.splits["train"].shards[13]
    rows.store.write(b"other bytes", "datasets", "mine", shard.file)
    with pytest.raises(DataError, match=shard.file):
        list(map(make(rows()).batch, range(60)))


def test_bytes_stay_bytes_until_they_are_on_the_device(rows):
    resident = batches(rows())
    assert {rows.x.dtype for rows in resident._buffer._blocks.values()} == {torch.uint8}
    assert batches(rows(), device="cpu").batch(0).x.dtype == torch.float32


def test_rows_without_their_context(rows):
    source = StoredRows(rows.store, rows.manifest, "train", limit=50).without_context()
    assert len(source) == 50
    assert source.row_bytes == 12
    assert source.read_all().context is None
    assert torch.equal(source.read_all().x, rows().read_all().x[:50])
    assert len(source.read_at_least(10)) == 18
    assert len(source.read_at_least(1000)) == 50
