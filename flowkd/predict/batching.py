"""Calls of a flow on chunks of one fixed size, which keep a row's result free of its neighbours.

A floating-point kernel may sum in another order for another batch size. Where every row goes
through the flow in a chunk of the same size, the last one padded, the same kernels always run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from flowkd.flows.context import example_context
from flowkd.flows.flow import Flow

CHUNK_VALUES = 4096


@torch.no_grad()
def apply_in_chunks(
    function: Callable[[Tensor, Tensor | None], Tensor],
    chunk_size: int,
    inputs: Sequence[Tensor],
    contexts: Sequence[Tensor | None],
) -> list[Tensor]:
    """Applies a function to the rows of all inputs, `chunk_size` rows a call.

    Args:
        function: Maps rows and their contexts to one result a row.
        chunk_size: Rows of every call; the last chunk is padded with copies of its last row.
        inputs: Tensors of rows, (N, *shape) each.
        contexts: The context of each of the inputs, (N, ...); either all are None or none is.

    Returns:
        The results of each of the inputs, (N, ...).

    >>> double = lambda rows, context: 2 * rows
    >>> apply_in_chunks(double, 4, [torch.ones(1), torch.arange(5)], [None, None])
    [tensor([2.]), tensor([0., 2., 4., 6., 8.])]
    """
    rows = torch.cat(list(inputs))
    given = [context for context in contexts if context is not None]
    context = torch.cat(given) if given else None
    results = []
    for start in range(0, len(rows), chunk_size):
        chosen = torch.arange(start, start + chunk_size).clamp_(max=len(rows) - 1)
        result = function(rows[chosen], None if context is None else context[chosen])
        results.append(result[: len(rows) - start])
    return list(torch.cat(results).split([len(each) for each in inputs]))


def choose_chunk_size(flow: Flow) -> int:
    """Returns the rows of a chunk: 8 to 32, fewer for larger examples.

    Chunks of this size have most of the throughput of larger ones; a single row takes two or three
    times as long in one as alone. The size is 1 where, on this machine, the position of a row in a
    chunk changes its result.
    """
    size = max(8, min(32, 2 ** (max(1, CHUNK_VALUES // flow.dimensions).bit_length() - 1)))
    generator = torch.Generator().manual_seed(0)
    context = example_context(flow.context, flow.context_units, size)
    z = flow.draw_latents(size, generator=generator)
    order = torch.randperm(size, generator=generator)
    moved = None if context is None else context[order]
    (x,) = apply_in_chunks(flow.inverse, size, [z], [context])
    (moved_x,) = apply_in_chunks(flow.inverse, size, [z[order]], [moved])
    (log_prob,) = apply_in_chunks(flow.log_prob, size, [x], [context])
    (moved_log_prob,) = apply_in_chunks(flow.log_prob, size, [x[order]], [moved])
    same = torch.equal(x[order], moved_x) and torch.equal(log_prob[order], moved_log_prob)
    return size if same else 1
