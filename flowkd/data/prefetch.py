"""Buffers of blocks: all rows in memory, or the next ones prefetched by threads."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from flowkd.data.rows import Examples, Rows
from flowkd.data.shuffle import Block
from flowkd.errors import DataError

GIB = 2**30
READERS = 2  # threads


class BlockBuffer(Protocol):
    """Holds blocks of rows while a run trains."""

    def get(self, block: Block) -> Examples:
        """Returns the rows of a block."""
        ...

    def prefetch(self, blocks: Collection[Block]) -> None:
        """Begins to read blocks that are needed soon, and drops all others."""
        ...


def open_buffer(
    rows: Rows, partitions: Sequence[Sequence[Block]], memory_gib: float | None = None
) -> BlockBuffer:
    """Returns a buffer of the blocks of some partitions: in memory if they fit, else prefetched.

    Args:
        rows: The rows that the blocks are cut from.
        partitions: Blocks of each; a prefetching buffer keeps two of each partition.
        memory_gib: Most memory for rows, in GiB; default None, no limit.

    Raises:
        DataError: The limit is too small even to prefetch.
    """
    blocks = [block for part in partitions for block in part]
    whole = sum(map(len, blocks)) * rows.row_bytes
    if memory_gib is None or whole <= memory_gib * GIB:
        return InMemoryBuffer(rows, blocks)
    least = 2 * sum(max(map(len, part)) for part in partitions) * rows.row_bytes
    if least > memory_gib * GIB:
        raise DataError(
            f"expected at least {least / GIB:.2f} GiB to stream {rows}, two blocks in each of its "
            f"{len(partitions)} partitions; got {memory_gib:g}: raise scaling.resident_gib, or use "
            f"more workers"
        )
    return PrefetchBuffer(rows)


class InMemoryBuffer:
    """Reads all blocks at once and keeps them, in the dtype in which they are stored."""

    def __init__(self, rows: Rows, blocks: Sequence[Block]) -> None:
        self._blocks: dict[Block, Examples] = {}
        by_shard: dict[int, list[Block]] = {}
        for block in blocks:
            by_shard.setdefault(block.shard, []).append(block)
        for number, wanted in by_shard.items():
            shard = rows.read_shard(number)
            for block in wanted:
                self._blocks[block] = shard.slice(block.start, block.stop)

    def get(self, block: Block) -> Examples:
        """Returns the rows of a block."""
        return self._blocks[block]

    def prefetch(self, blocks: Collection[Block]) -> None:
        """Does nothing: all are there."""


class PrefetchBuffer:
    """Reads blocks by threads while others are trained on; keeps only those last asked for."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._pending: dict[Block, Future[Examples]] = {}
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="flowkd-rows")

    def get(self, block: Block) -> Examples:
        """Returns the rows of a block; waits for them if they are not there yet."""
        if block not in self._pending:
            self._pending[block] = self._readers.submit(self._read, block)
        return self._pending[block].result()

    def prefetch(self, blocks: Collection[Block]) -> None:
        """Begins to read blocks that are not there yet, and drops all others."""
        for block in self._pending.keys() - set(blocks):
            self._pending.pop(block).cancel()
        for block in blocks:
            if block not in self._pending:
                self._pending[block] = self._readers.submit(self._read, block)

    def _read(self, block: Block) -> Examples:
        shard = self._rows.read_shard(block.shard)
        if len(block) == len(shard):
            return shard
        return shard.slice(block.start, block.stop).clone()  # a view would keep the whole shard
