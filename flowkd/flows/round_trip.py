"""How far a flow is from undoing itself, as it is trained and as it is served."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from flowkd.flows.context import example_context
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference

# Above it a flow is not published, and a run warns. Sound flows are at 1e-6 to 1e-3.
MAX_ROUND_TRIP_ERROR = 1e-2
ROWS = 256
SAMPLES = 256
# Of samples, one in a hundred may lie so far out that float32 has no digits left for it.
SAMPLE_QUANTILE = 0.99


@torch.no_grad()
def round_trip_error(flow: Flow, x: Tensor, context: Tensor | None = None) -> float:
    """Returns the largest |inverse(forward(x)) - x| in preprocessed units, which are of order 1."""
    again = flow.inverse(flow(x, context).z, context)
    return (flow.preprocess(again)[0] - flow.preprocess(x)[0]).abs().max().item()


def served_round_trip_error(
    flow: Flow, x: Tensor | None = None, context: Tensor | None = None
) -> float:
    """Returns `undo_error` of a flow as it is served: in its form for inference, in float32.

    Args:
        flow: Of any dtype; it is not changed.
        x: Rows of data, of which the first 256 are used; default none.
        context: Theirs, for a conditional flow.
    """
    if not all(bool(value.isfinite().all()) for value in flow.parameters()):
        return math.inf
    served = for_inference(copy.deepcopy(flow).float())
    served.config = flow.config
    x, context = (None if rows is None else rows[:ROWS] for rows in (x, context))
    return undo_error(served, x, context)


@torch.no_grad()
def undo_error(
    flow: Flow, x: Tensor | None = None, context: Tensor | None = None, samples: int = SAMPLES
) -> float:
    """Returns how far a flow is from undoing itself, on data and on samples of its own.

    The larger of two errors: of data from x to z and back, the largest, in preprocessed units; and
    of latents from z to x and back, the one that 99% of them stay below. Infinite where the density
    of a row, or more than 1% of the samples, are not finite.

    Args:
        flow: On any device.
        x: Rows of data; default none.
        context: Theirs, for a conditional flow; the samples get the same ones.
        samples: Number of latents; default 256.
    """
    z = flow.draw_latents(samples, generator=torch.Generator().manual_seed(0))
    errors = []
    if x is not None:
        x = x.to(z)
        given = None if context is None else context.to(z.device)
        dense = bool(flow.log_prob(x, given).isfinite().all())
        errors.append(round_trip_error(flow, x, given) if dense else math.inf)
    given = _contexts(flow, context, z)
    off = (flow(flow.inverse(z, given), given).z - z).abs().flatten(1).amax(1)
    off = torch.where(off.isfinite(), off, math.inf)
    errors.append(off.sort().values[math.ceil(SAMPLE_QUANTILE * samples) - 1].item())
    return max(error if math.isfinite(error) else math.inf for error in errors)


def too_far_off(error: float, limit: float = MAX_ROUND_TRIP_ERROR) -> str | None:
    """Returns in words that a flow is further from undoing itself than a limit, if it is."""
    if error <= limit:
        return None
    return (
        f"after a round trip between x and z, in float32, it is off by {error:.1e}; expected at "
        f"most {limit:g}"
    )


def _contexts(flow: Flow, known: Tensor | None, z: Tensor) -> Tensor | None:
    """Returns a context for each sample: those of rows in turn; classes, or vectors of order 1."""
    if not flow.context.width:
        return None
    if known is not None:
        return known[torch.arange(len(z)) % len(known)].to(z.device)
    drawn = example_context(flow.context, flow.context_units, len(z))
    assert drawn is not None
    return drawn.to(z.device)
