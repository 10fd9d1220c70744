"""Where blocks of rows are while a run trains: all in memory, or those that are next."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from flowkd.data.rows import Examples, Rows
from flowkd.data.shuffle import Block
from flowkd.errors import DataError

GIB = 2**30
READERS = 2


class Blocks(Protocol):
    """Hands out the rows of blocks."""

    def get(self, block: Block) -> Examples:
        """Returns the rows of a block."""
        ...

    def expect(self, blocks: Collection[Block]) -> None:
        """Is told which blocks will be asked for soon; the others may go."""
        ...


def open_blocks(
    rows: Rows, groups: Sequence[Sequence[Block]], memory: float | None = None
) -> Blocks:
    """Returns what hands out the blocks of some groups: from memory if they fit, else streamed.

    Args:
        rows: Where the blocks lie.
        groups: Those that will be asked for; of a stream, two blocks of each are kept.
        memory: The most that is kept, in GiB; None for no limit.

    Raises:
        DataError: The limit is too small even to stream.
    """
    blocks = [block for group in groups for block in group]
    whole = sum(map(len, blocks)) * rows.row_bytes
    if memory is None or whole <= memory * GIB:
        return Resident(rows, blocks)
    least = 2 * sum(max(map(len, group)) for group in groups) * rows.row_bytes
    if least > memory * GIB:
        raise DataError(
            f"expected at least {least / GIB:.2f} GiB to stream {rows}, two blocks in each of its "
            f"{len(groups)} groups; got {memory:g}: raise scaling.resident_gib, or use more workers"
        )
    return Streaming(rows)


class Resident:
    """Blocks that are all read at once and stay in memory, as compact as they are stored."""

    def __init__(self, rows: Rows, blocks: Sequence[Block]) -> None:
        self._known: dict[Block, Examples] = {}
        by_piece: dict[int, list[Block]] = {}
        for block in blocks:
            by_piece.setdefault(block.piece, []).append(block)
        for number, wanted in by_piece.items():
            piece = rows.read(number)
            for block in wanted:
                self._known[block] = piece.part(block.start, block.stop)

    def get(self, block: Block) -> Examples:
        """Returns the rows of a block."""
        return self._known[block]

    def expect(self, blocks: Collection[Block]) -> None:
        """Does nothing: all are there."""


class Streaming:
    """Blocks that are read while others are trained on; only those that are expected are kept."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._coming: dict[Block, Future[Examples]] = {}
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="flowkd-rows")

    def get(self, block: Block) -> Examples:
        """Returns the rows of a block; waits for them if they are not there yet."""
        if block not in self._coming:
            self._coming[block] = self._readers.submit(self._read, block)
        return self._coming[block].result()

    def expect(self, blocks: Collection[Block]) -> None:
        """Begins to read what is not there yet, and lets go of all other blocks."""
        for block in self._coming.keys() - set(blocks):
            self._coming.pop(block).cancel()
        for block in blocks:
            if block not in self._coming:
                self._coming[block] = self._readers.submit(self._read, block)

    def _read(self, block: Block) -> Examples:
        piece = self._rows.read(block.piece)
        if len(block) == len(piece):
            return piece
        return piece.part(block.start, block.stop).copy()  # or the whole piece would stay
