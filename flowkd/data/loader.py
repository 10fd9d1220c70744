"""The batch loader: shuffled, dequantised batches, pure functions of the seed and the step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flowkd.data.batch import Batch, moved
from flowkd.data.dequantize import check_rows, truncate_noise
from flowkd.data.prefetch import open_buffer
from flowkd.data.rows import Examples, Rows, concat_examples
from flowkd.data.shuffle import Block, ShuffledPartition, partition, seeded_generator, stream_suffix
from flowkd.data.steps import spread

Draw = Callable[..., Tensor]  # torch.rand or torch.randn


class BatchLoader:
    """An endless sequence of shuffled epochs, cut into full batches.

    Every epoch has another order. A batch that an epoch's rows do not fill continues with the next
    epoch. Order, noise and latents are drawn for the global batch, then cut by rank: any number of
    workers sees the same batches, and a resumed run those it would have seen. A worker reads only
    the partitions (`shuffle.partition`) that fill its part of the batch, and prefetches their
    blocks if they do not fit into memory: the batches are the same.

    Args:
        rows: Rows of the split, in memory or in a store.
        batch_size: Rows of the global batch, over all workers.
        seed: Seed of every draw.
        bins: Number of integer values of x; None if x is continuous.
        latents: Whether batches carry `z`; default False.
        rank: Number of this worker, which gets rows rank * B / world and on; default 0.
        world: Number of workers; default 1.
        device: Where batches are made: bytes are moved there, then get their noise; default CPU.
        memory_gib: Most memory for rows on this worker, in GiB; default None, no limit.

    Raises:
        DataError: The limit is too small even to prefetch; or as reading the rows raises.
        ValueError: There are no rows, batch_size is not a positive multiple of world, rank is
            not below world, or the dtype of x does not go with bins.

    Examples:
        >>> rows = Examples(torch.arange(10, dtype=torch.uint8)[:, None])
        >>> loader = BatchLoader(rows, batch_size=5, seed=0, bins=256)
        >>> epoch = torch.cat([loader.batch(0).x, loader.batch(1).x])
        >>> epoch.floor().int().sort(dim=0).values.flatten().tolist()
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
        >>> halves = [
        ...     BatchLoader(rows, batch_size=10, seed=0, bins=256, rank=rank, world=2)
        ...     for rank in range(2)
        ... ]
        >>> [len(half.batch(0)) for half in halves]
        [5, 5]
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
        memory_gib: float | None = None,
    ) -> None:
        check_rows(len(rows), rows.dtype, bins)
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
        self._steps = None if rows.steps is None else rows.steps.to(device)
        partitions = partition(rows.shard_sizes, batch_size)
        self._places = batch_size // len(partitions)  # rows of each partition in a global batch
        share = batch_size // world
        # This worker's places, by the numbers of the partitions.
        self._mine = _overlaps(len(partitions), self._places, rank * share, (rank + 1) * share)
        self._orders = {
            number: ShuffledPartition(partitions[number], number, seed) for number in self._mine
        }
        self._buffer = open_buffer(rows, [partitions[number] for number in self._mine], memory_gib)

    def batch(self, step: int) -> Batch:
        """Returns this worker's rows of the batch of a step (from 0 on)."""
        if step < 0:
            raise ValueError(f"expected step of at least 0; got {step}")
        taken = self._take(step)
        x = moved(taken.x, self.device)
        if self.bins is not None:
            x = x + truncate_noise(self._drawn(torch.rand, "noise", step, tuple(x.shape[1:])))
        elif self._steps is not None:
            x = spread(x, self._steps, self._drawn(torch.rand, "noise", step, tuple(x.shape[1:])))
        z = None
        if self.latents:
            z = self._drawn(torch.randn, "latents", step, (math.prod(x.shape[1:]),))
        return Batch(x, taken.context, z, targets=taken.targets).to(self.device)

    def _take(self, step: int) -> Examples:
        """Returns this worker's rows of a step, and prefetches the blocks of the next ones."""
        parts, soon = [], set[Block]()
        for number, places in self._mine.items():
            order = self._orders[number]
            start = step * self._places + places.start
            for block, rows in order.indices(start, places.stop - places.start):
                parts.append(self._buffer.get(block).select(rows))
            soon |= {block, order.next_block(start + places.stop - places.start - 1)}
        self._buffer.prefetch(soon)
        return concat_examples(parts)

    def _drawn(self, draw: Draw, stream: str, step: int, shape: tuple[int, ...]) -> Tensor:
        """Returns this worker's part of the numbers that are drawn for a step."""
        parts = []
        for number, places in self._mine.items():
            source = seeded_generator(
                self.seed, stream, step, *stream_suffix(number), device=self.device
            )
            drawn = draw(
                (self._places, *shape), generator=source, dtype=torch.float32, device=self.device
            )
            parts.append(drawn[places])
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def _overlaps(partitions: int, places: int, start: int, stop: int) -> dict[int, slice]:
    """Returns which places of which partitions lie between two places of a global batch."""
    found = {}
    for number in range(partitions):
        begin = number * places
        part = slice(max(0, start - begin), min(places, stop - begin))
        if part.start < part.stop:
            found[number] = part
    return found
