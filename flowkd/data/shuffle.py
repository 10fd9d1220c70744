"""In which order rows are seen: a pure function of their number, the batch size and the seed."""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Each batch takes its rows from so many places at once; more mix better, and keep more shards open.
GROUPS = 16


@dataclass(frozen=True)
class Block:
    """Rows that lie side by side in one piece of a split, and are read at once.

    Attributes:
        piece: Number of the piece.
        start: First row, within the piece.
        stop: The row after the last.
        first: First row, within the split.
    """

    piece: int
    start: int
    stop: int
    first: int

    def __len__(self) -> int:
        return self.stop - self.start


def cut_groups(sizes: Sequence[int], batch_size: int) -> list[list[Block]]:
    """Cuts a split into groups of equally many rows, to within one; each batch draws on all alike.

    A group fills the same places of every batch, so that a worker that has these places reads the
    group's rows alone, and any number of workers sees the same batches. There is one group if the
    split has one piece.

    Args:
        sizes: Rows of each piece.
        batch_size: Of the global batch; the number of groups divides it.
    """
    most = min(GROUPS, len(sizes))
    count = next(number for number in range(most, 0, -1) if batch_size % number == 0)
    total = sum(sizes)
    ends = list(itertools.accumulate(sizes))
    groups = []
    for number in range(count):
        row, stop = number * total // count, (number + 1) * total // count
        blocks = []
        while row < stop:
            piece = bisect_right(ends, row)
            begin = ends[piece] - sizes[piece]
            last = min(stop, ends[piece])
            blocks.append(Block(piece, row - begin, last - begin, row))
            row = last
        groups.append(blocks)
    return groups


class GroupOrder:
    """The endless sequence of a group's rows: epoch after epoch, each in another order.

    In every epoch the blocks are shuffled, and the rows within each. So a block is all that must
    be in memory at once.

    Args:
        blocks: Of the group.
        number: Of the group.
        seed: Of all orders.
    """

    def __init__(self, blocks: Sequence[Block], number: int, seed: int) -> None:
        self.blocks = blocks
        self.number = number
        self.seed = seed
        self.rows = sum(map(len, blocks))
        self._known: dict[tuple[int, Block], Tensor] = {}
        self._epochs: dict[int, list[Block]] = {}

    def stretch(self, start: int, count: int) -> list[tuple[Block, Tensor]]:
        """Returns the rows at places start, start + 1, ...: their numbers within blocks."""
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

    def following(self, start: int) -> Block:
        """Returns the block that comes after that of a place."""
        epoch, place = divmod(start, self.rows)
        blocks = iter(self._blocks(epoch))
        for block in blocks:
            if place < len(block):
                break
            place -= len(block)
        return next(blocks, None) or self._blocks(epoch + 1)[0]

    def _blocks(self, epoch: int) -> list[Block]:
        if epoch not in self._epochs:
            stream = generator(self.seed, "blocks", epoch, self.number)
            order = torch.randperm(len(self.blocks), generator=stream)
            if len(self._epochs) > 2:
                self._epochs.clear()
            self._epochs[epoch] = [self.blocks[number] for number in order.tolist()]
        return self._epochs[epoch]

    def _order(self, epoch: int, block: Block) -> Tensor:
        if (epoch, block) in self._known:
            return self._known[epoch, block]
        stream = generator(self.seed, "permutation", epoch, *numbered(block.first))
        return torch.randperm(len(block), generator=stream)


def numbered(number: int) -> tuple[int, ...]:
    """Returns a number for a stream's name, none for the first: what has one part has one name."""
    return (number,) if number else ()


def generator(
    seed: int, stream: str, *numbers: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Returns the generator of a named stream."""
    return torch.Generator(device).manual_seed(derive_seed(seed, stream, *numbers))


def derive_seed(seed: int, stream: str, *numbers: int) -> int:
    """Returns the 63-bit seed of a named stream; unequal arguments give unrelated seeds.

    A hash, because neighbouring seeds (seed + step, seed + rank) collide between streams.
    """
    key = ":".join([stream, *(str(int(number)) for number in (seed, *numbers))])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1
