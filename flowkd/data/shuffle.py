"""Shuffling: the order of rows, a pure function of the shard sizes, the batch size and the seed."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowkd.data.seeds import derive_seed

# Partitions that each batch draws on: more mix better, and keep more shards in memory.
MAX_PARTITIONS = 16


@dataclass(frozen=True)
class Block:
    """Neighbouring rows of one shard, which are read at once.

    Attributes:
        shard: Number of the shard.
        start: Index of the first row within the shard.
        stop: Index after the last row within the shard.
        offset: Index of the first row within the split.
    """

    shard: int
    start: int
    stop: int
    offset: int

    def __len__(self) -> int:
        return self.stop - self.start


def partition(sizes: Sequence[int], batch_size: int) -> list[list[Block]]:
    """Cuts a split into partitions of equally many rows, to within one, as blocks.

    Each batch takes equally many rows of each partition. A partition fills the same places of
    every batch, so that a worker with these places reads the partition's rows alone, and any number
    of workers sees the same batches. A split of one shard is one partition.

    Args:
        sizes: Number of rows of each shard.
        batch_size: Rows of the global batch; the number of partitions divides it.

    Examples:
        >>> [[(b.shard, b.start, b.stop) for b in blocks] for blocks in partition([4, 2], 2)]
        [[(0, 0, 3)], [(0, 3, 4), (1, 0, 2)]]
    """
    most = min(MAX_PARTITIONS, len(sizes))
    count = next(number for number in range(most, 0, -1) if batch_size % number == 0)
    total = sum(sizes)
    ends = list(itertools.accumulate(sizes))
    partitions = []
    for number in range(count):
        row, stop = number * total // count, (number + 1) * total // count
        blocks = []
        while row < stop:
            shard = bisect_right(ends, row)
            begin = ends[shard] - sizes[shard]
            last = min(stop, ends[shard])
            blocks.append(Block(shard, row - begin, last - begin, row))
            row = last
        partitions.append(blocks)
    return partitions


class ShuffledPartition:
    """The endless sequence of a partition's rows: epoch after epoch, each in another order.

    In every epoch the blocks are shuffled, and the rows within each. So only one block must be in
    memory at a time.

    Args:
        blocks: Blocks of the partition.
        number: Number of the partition.
        seed: Seed of the orders.
    """

    def __init__(self, blocks: Sequence[Block], number: int, seed: int) -> None:
        self.blocks = blocks
        self.number = number
        self.seed = seed
        self.rows = sum(map(len, blocks))
        self._known: dict[tuple[int, Block], Tensor] = {}
        self._epochs: dict[int, list[Block]] = {}

    def indices(self, start: int, count: int) -> list[tuple[Block, Tensor]]:
        """Returns elements start, start + 1, ... of the sequence, as indices within blocks."""
        found, known = [], {}
        while count:
            epoch, place = divmod(start, self.rows)
            for block in self._blocks(epoch):
                if place >= len(block):
                    place -= len(block)
                    continue
                order = known[epoch, block] = self._order(epoch, block)
                rows = order[place : place + count]
                found.append((block, rows))
                start, count, place = start + len(rows), count - len(rows), 0
                if not count:
                    break
        self._known = known
        return found

    def next_block(self, start: int) -> Block:
        """Returns the block after the one that holds element `start` of the sequence."""
        epoch, place = divmod(start, self.rows)
        blocks = iter(self._blocks(epoch))
        for block in blocks:
            if place < len(block):
                break
            place -= len(block)
        return next(blocks, None) or self._blocks(epoch + 1)[0]

    def _blocks(self, epoch: int) -> list[Block]:
        if epoch not in self._epochs:
            stream = seeded_generator(self.seed, "blocks", epoch, self.number)
            order = torch.randperm(len(self.blocks), generator=stream)
            if len(self._epochs) > 2:
                self._epochs.clear()
            self._epochs[epoch] = [self.blocks[number] for number in order.tolist()]
        return self._epochs[epoch]

    def _order(self, epoch: int, block: Block) -> Tensor:
        if (epoch, block) in self._known:
            return self._known[epoch, block]
        stream = seeded_generator(self.seed, "permutation", epoch, *stream_suffix(block.offset))
        return torch.randperm(len(block), generator=stream)


def stream_suffix(number: int) -> tuple[int, ...]:
    """Returns what number 1 and on append to a stream's name; number 0 appends nothing."""
    return (number,) if number else ()


def seeded_generator(
    seed: int, stream: str, *numbers: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Returns a generator seeded by `derive_seed`."""
    return torch.Generator(device).manual_seed(derive_seed(seed, stream, *numbers))
