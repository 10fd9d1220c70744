"""What several workers compute of a teacher together: each its part, and all get the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

Part = TypeVar("Part")


def together(
    parts: Iterable[Part],
    compute: Callable[[Part], list[Tensor]],
    like: Callable[[Part], list[Tensor]],
    workers: int,
) -> Iterator[tuple[Part, list[Tensor]]]:
    """Yields each part, and what is made of it, which one of the workers computes for all.

    The workers are those of the process group, on one node or on many; each of them has to ask for
    the same parts. Nothing is kept outside of their memory, so that of workers who are stopped
    nothing half done is left. What they have is the same to the last bit.

    Args:
        parts: In an order that is the same for all.
        compute: Makes of a part what is wanted, on the device on which the workers exchange.
        like: Returns tensors of the shapes and dtypes of that, whatever is in them, on that device.
        workers: How many do it together; where there is no such process group, one does it all.
    """
    if workers == 1 or not dist.is_initialized() or dist.get_world_size() != workers:
        for part in parts:
            yield part, compute(part)
        return
    rank, waiting = dist.get_rank(), iter(parts)
    while turn := list(islice(waiting, workers)):
        mine = compute(turn[rank]) if rank < len(turn) else []
        for owner, part in enumerate(turn):
            values = [each.contiguous() for each in (mine if owner == rank else like(part))]
            for each in values:
                dist.broadcast(each, owner)
            yield part, values
