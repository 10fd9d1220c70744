"""Batches of one fixed size, so that what shares a batch changes no bit of a row's result.

A float kernel sums in another order for another batch size. Where every row goes through in a
chunk of the same size, the last one padded, the same kernels always run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flowkd.flows.flow import Flow

CHUNK_VALUES = 4096


@torch.no_grad()
def in_chunks(
    call: Callable[[Tensor, Tensor | None], Tensor],
    size: int,
    parts: Sequence[Tensor],
    contexts: Sequence[Tensor | None],
) -> list[Tensor]:
    """Calls with the rows of all parts, `size` at a time, and returns the results part by part.

    Args:
        call: Maps rows and their context to one result each.
        size: Rows of every call; the last chunk is filled up with its last row.
        parts: Rows, (N, *shape) each.
        contexts: One context for each part; all or none.
    """
    rows = torch.cat(list(parts))
    given = [context for context in contexts if context is not None]
    context = torch.cat(given) if given else None
    results = []
    for start in range(0, len(rows), size):
        chosen = torch.arange(start, start + size).clamp_(max=len(rows) - 1)
        result = call(rows[chosen], None if context is None else context[chosen])
        results.append(result[: len(rows) - start])
    return list(torch.cat(results).split([len(part) for part in parts]))


def chunk_rows(flow: Flow) -> int:
    """Returns how many rows a chunk of a flow has: 8 to 32, the fewer the larger an example.

    That has most of the throughput of larger batches; a row alone takes two or three times as long
    as in a batch of its own. It is 1 where, on this machine, the place of a row among others
    changes its result.
    """
    size = max(8, min(32, 2 ** (max(1, CHUNK_VALUES // flow.dimensions).bit_length() - 1)))
    generator = torch.Generator().manual_seed(0)
    context = None
    if flow.context.classes:
        context = torch.arange(size) % flow.context.classes
    elif flow.context.size:
        context = torch.randn(size, flow.context.size, generator=generator)
    z = flow.draw_latents(size, generator=generator)
    order = torch.randperm(size, generator=generator)
    moved = None if context is None else context[order]
    (x,) = in_chunks(flow.inverse, size, [z], [context])
    (moved_x,) = in_chunks(flow.inverse, size, [z[order]], [moved])
    (nats,) = in_chunks(flow.log_prob, size, [x], [context])
    (moved_nats,) = in_chunks(flow.log_prob, size, [x[order]], [moved])
    same = torch.equal(x[order], moved_x) and torch.equal(nats[order], moved_nats)
    return size if same else 1
