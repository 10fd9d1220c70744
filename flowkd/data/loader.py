"""Rows -> batches in data units; a batch is a pure function of the seed and the step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from flowkd.data.batch import Batch
from flowkd.data.dequantize import check_examples, round_noise
from flowkd.data.prefetch import open_blocks
from flowkd.data.rows import Examples, Rows, join_examples
from flowkd.data.shuffle import Block, GroupOrder, cut_groups, generator, numbered

Draw = Callable[..., Tensor]


class BatchLoader:
    """An endless sequence of shuffled epochs, cut into full batches.

    Every epoch is a fresh order; one that ends within a batch continues into the next. Order,
    noise and latents are drawn for the global batch, then cut by rank: any number of workers sees
    the same batches, and a resumed run those it would have seen. A worker reads only the groups
    (`cut_groups`) that fill its part of the batch, and streams them where they are more than it
    may keep: the batches are the same.

    Args:
        rows: Of the split, in memory or in a store.
        batch_size: Rows of the global batch, over all workers.
        seed: Seed of every draw.
        bins: The number of integer values of x; None if x is continuous.
        latents: Whether batches carry `z`.
        rank: Which of the workers this is: it gets rows rank * B / world and on.
        world: The number of workers.
        device: Where batches are made: bytes travel there, and get their noise there.
        memory: The most rows that this worker keeps, in GiB; None for no limit.

    Raises:
        DataError: The limit is too small even to stream; or as reading the rows raises.
        ValueError: There are no rows, batch_size is not a positive multiple of world, rank is
            not below world, or the dtype of x does not go with bins.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        batch_size: int,
        seed: int,
        bins: int | None,
        latents: bool = False,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
        memory: float | None = None,
    ) -> None:
        check_examples(len(rows), rows.dtype, bins)
        if world < 1 or not 0 <= rank < world:
            raise ValueError(f"expected 0 <= rank < world; got rank {rank}, world {world}")
        if batch_size < 1 or batch_size % world:
            raise ValueError(
                f"expected batch_size to be a positive multiple of the {world} workers; "
                f"got {batch_size}"
            )
        self.rows = rows
        self.batch_size = batch_size
        self.seed = seed
        self.bins = bins
        self.latents = latents
        self.device = device
        groups = cut_groups(rows.sizes, batch_size)
        self._places = batch_size // len(groups)  # of each group in a batch
        share = batch_size // world
        self._mine = _overlaps(len(groups), self._places, rank * share, (rank + 1) * share)
        self._orders = {number: GroupOrder(groups[number], number, seed) for number in self._mine}
        self._blocks = open_blocks(rows, [groups[number] for number in self._mine], memory)

    def batch(self, step: int) -> Batch:
        """Returns this worker's rows of the batch of a step (from 0 on)."""
        if step < 0:
            raise ValueError(f"expected step of at least 0; got {step}")
        taken = self._take(step)
        x = taken.x.to(self.device)
        if self.bins is not None:
            x = x + round_noise(self._drawn(torch.rand, "noise", step, tuple(x.shape[1:])))
        z = None
        if self.latents:
            z = self._drawn(torch.randn, "latents", step, (math.prod(x.shape[1:]),))
        return Batch(x, taken.context, z, targets=taken.targets).to(self.device)

    def from_step(self, start: int = 0) -> Iterator[Batch]:
        """Yields the batches of step `start` and on, without end."""
        for step in itertools.count(start):
            yield self.batch(step)

    def _take(self, step: int) -> Examples:
        """Returns this worker's rows of a step, and lets those of the next ones be read."""
        parts, soon = [], set[Block]()
        for number, places in self._mine.items():
            order = self._orders[number]
            start = step * self._places + places.start
            for block, rows in order.stretch(start, places.stop - places.start):
                parts.append(self._blocks.get(block).take(rows))
            soon |= {block, order.following(start + places.stop - places.start - 1)}
        self._blocks.expect(soon)
        return join_examples(parts)

    def _drawn(self, draw: Draw, stream: str, step: int, shape: tuple[int, ...]) -> Tensor:
        """Returns what is drawn for this worker's rows of a step."""
        parts = []
        for number, places in self._mine.items():
            source = generator(self.seed, stream, step, *numbered(number), device=self.device)
            drawn = draw(
                (self._places, *shape), generator=source, dtype=torch.float32, device=self.device
            )
            parts.append(drawn[places])
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def _overlaps(groups: int, places: int, start: int, stop: int) -> dict[int, slice]:
    """Returns which places of which groups lie between two places of a batch."""
    found = {}
    for number in range(groups):
        begin = number * places
        part = slice(max(0, start - begin), min(places, stop - begin))
        if part.start < part.stop:
            found[number] = part
    return found
