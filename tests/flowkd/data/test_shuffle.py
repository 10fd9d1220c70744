"""The order of rows: partitions alike, epochs whole, and the same whoever reads them."""

import itertools
import math

import pytest
import torch

from flowkd.data.shuffle import MAX_PARTITIONS, ShuffledPartition, partition

CASES = [
    ([50], 8), ([3], 8), ([1], 1), ([10, 10, 10, 3], 8), ([7] * 30, 64), ([5, 100, 1, 40], 6),
    ([20] * 20, 192), ([9] * 5, 7), ([1, 1, 1, 1], 4),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "batch_size"), CASES)
def test_partitions_share_the_rows_alike_and_divide_the_batch(sizes, batch_size):
    partitions = partition(sizes, batch_size)
    assert batch_size % len(partitions) == 0
    assert len(partitions) <= min(MAX_PARTITIONS, len(sizes))
    counts = [sum(map(len, part)) for part in partitions]
    assert max(counts) - min(counts) <= 1
    begins = [0, *itertools.accumulate(sizes)]
    seen = []
    for block in itertools.chain(*partitions):
        assert 0 <= block.start < block.stop <= sizes[block.shard]
        assert begins[block.shard] + block.start == block.offset
        seen += range(block.offset, block.offset + len(block))
    assert seen == list(range(sum(sizes)))


def test_there_are_as_many_partitions_as_shards_and_batch_allow():
    assert len(partition([10] * 40, 256)) == MAX_PARTITIONS
    assert len(partition([10] * 40, 192)) == MAX_PARTITIONS
    assert len(partition([10] * 40, 54)) == 9
    assert len(partition([10] * 5, 256)) == 4
    assert len(partition([10] * 5, 13)) == 1


def numbers(indices):
    return [block.offset + row for block, rows in indices for row in rows.tolist()]


@pytest.mark.parametrize(("sizes", "batch_size"), CASES)
@pytest.mark.parametrize("step", [1, 3, 17])
def test_every_epoch_of_a_partition_holds_each_row_once_in_another_order(sizes, batch_size, step):
    for number, blocks in enumerate(partition(sizes, batch_size)):
        order = ShuffledPartition(blocks, number, seed=4)
        length = 3 * order.rows
        starts = range(0, length, step)
        seen = list(itertools.chain(*(numbers(order.indices(s, step)) for s in starts)))[:length]
        assert seen == numbers(ShuffledPartition(blocks, number, seed=4).indices(0, length))
        epochs = [seen[start : start + order.rows] for start in range(0, length, order.rows)]
        first = blocks[0].offset
        assert all(sorted(e) == list(range(first, first + order.rows)) for e in epochs)
        if order.rows > 6:
            assert len(set(map(tuple, epochs))) == 3
            assert numbers(ShuffledPartition(blocks, number, seed=5).indices(0, length)) != seen


def test_the_block_that_follows_is_the_one_that_is_read_next():
    (blocks,) = partition([5, 6, 7, 8], 1)
    order = ShuffledPartition(blocks, 0, seed=1)
    visited = [block for block, _ in order.indices(0, 4 * order.rows)]
    assert len(visited) == 16
    place = 0
    for block, after in itertools.pairwise(visited):
        assert order.next_block(place) == order.next_block(place + len(block) - 1) == after
        place += len(block)
    assert len({tuple(visited[start : start + 4]) for start in range(0, 16, 4)}) > 1


def test_rows_are_spread_over_places_without_preference():
    (blocks,) = partition([4, 4], 1)
    order = ShuffledPartition(blocks, 0, seed=0)
    epochs = 4000
    seen = torch.tensor(numbers(order.indices(0, epochs * 8))).view(epochs, 8)
    for place in range(8):
        counts = torch.bincount(seen[:, place], minlength=8).double()
        error = math.sqrt(epochs / 8)
        assert (counts - epochs / 8).abs().max() < 5 * error
