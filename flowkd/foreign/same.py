"""Whether a converted flow is the flow that it was made of."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from flowkd.errors import ConversionError
from flowkd.flows.context import example_context
from flowkd.flows.flow import Flow
from flowkd.foreign.adapters.base import Adapter
from flowkd.foreign.libraries import origin_of
from flowkd.foreign.normalised import check_normalised
from flowkd.foreign.teachers import adapted
from flowkd.foreign.units import Units

ROWS, FAR = 256, 1.5  # a quarter of the latents lie further out
# Largest differences of log_prob, relative to its size, and of x, to the row's largest value.
EXACT, FLOAT32 = 1e-7, 1e-5
# Where the library's own rounding in float32 is more than that, so many times as much: of half of
# the rows, and of all but the worst tenth.
ROUNDING, QUANTILES = 4.0, (0.5, 0.9)
# Of half of the rows in float64: flows whose samples lie far out may undo the others badly.
UNDONE = 1e-6


@torch.no_grad()
def check_same(module: nn.Module, flow: Flow, units: Units) -> None:
    """Compares both in both directions: log_prob on samples of either, x of the same latents.

    Of what is the same, log_prob is compared with the volume that the map takes up, where that can
    be told in some seconds.

    Args:
        module: As it was given; its own library computes it.
        flow: In float64.
        units: Of the data.

    Raises:
        ConversionError: They differ by more than rounding, or their shapes or contexts do.
    """
    theirs = adapted(copy.deepcopy(module).cpu(), units).double()
    if (theirs.event_shape, theirs.context) != (flow.event_shape, flow.context):
        raise ConversionError(
            f"expected a flow over {theirs.event_shape} given {theirs.context}; got one over "
            f"{flow.event_shape} given {flow.context}"
        )
    generator = torch.Generator().manual_seed(0)
    context = example_context(flow.context, flow.context_units, ROWS, generator)
    z = flow.draw_latents(ROWS, generator=generator)
    z[: ROWS // 4] *= FAR
    x = flow.inverse(z, context)
    _check_inverse(theirs, flow, z, x, context)
    for whose, rows in _rows(theirs, flow, x, context, generator):
        _check_log_prob(theirs, flow, whose, rows, context)
    check_normalised(flow, origin_of(module))


def _rows(
    theirs: Adapter, flow: Flow, x: Tensor, context: Tensor | None, generator: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    yield "samples of the converted flow", x
    if "samples" in theirs.abilities:
        yield "its own samples", theirs.sample(ROWS, context, generator=generator)


def _check_log_prob(
    theirs: Adapter, flow: Flow, whose: str, rows: Tensor, context: Tensor | None
) -> None:
    good = theirs.log_prob(rows, context).isfinite() & _have_digits(flow, rows, context)
    if good.sum() < len(rows) / 2:
        raise ConversionError(
            f"expected {whose} to have a log_prob that is finite, and sure to {EXACT:g} in "
            f"float64; got {int(good.sum())} of {len(rows)} that have: was it trained, and are its "
            f"weights those of this architecture?"
        )
    rows, context = rows[good], None if context is None else context[good]
    known, got = theirs.log_prob(rows, context), flow.log_prob(rows, context)
    size = known.abs().clamp(min=1.0)
    rows32 = rows.float()
    true = theirs.log_prob(rows32.double(), context)
    rounding = (copy.deepcopy(theirs).float().log_prob(rows32, context) - true) / size
    off = (got - known) / size
    if not _most(off, 1.0) <= EXACT:
        raise _different("log_prob", _most(off, 1.0), EXACT, f"on {whose}, in float64")
    ours = (copy.deepcopy(flow).float().log_prob(rows32, context) - true) / size
    for share in QUANTILES:
        here, most = _most(ours, share), max(FLOAT32, ROUNDING * _most(rounding, share))
        if not here <= most:
            raise _different("log_prob", here, most, f"on {whose}, in float32")


def _check_inverse(
    theirs: Adapter, flow: Flow, z: Tensor, x: Tensor, context: Tensor | None
) -> None:
    off = _most(flow(x, context).z - z, 0.5)
    if not off <= UNDONE:
        raise _different("z", off, UNDONE, "after a round trip of the converted flow, in float64")
    if "decoding" in theirs.abilities:
        known = theirs.inverse(z, context)
        off = _most((x - known) / known.abs().clamp(min=1.0), 0.5)
        if not off <= UNDONE:
            raise _different("x", off, UNDONE, "of the same z, in float64")


def _have_digits(flow: Flow, rows: Tensor, context: Tensor | None) -> Tensor:
    """Tells of each row, (B,), whether float64 has digits enough to compare its log_prob."""
    known, beside = flow.log_prob(rows, context), flow.log_prob(rows * (1 + 1e-15), context)
    return (beside - known).abs() / known.abs().clamp(min=1.0) <= EXACT / 100


def _most(off: Tensor, share: float) -> float:
    """Returns what the largest value of a share of the rows stays below."""
    values = off.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf).abs()
    worst = values.reshape(len(off), -1).amax(1).sort().values
    return worst[math.ceil(share * len(worst)) - 1].item()


def _different(what: str, off: float, most: float, where: str) -> ConversionError:
    return ConversionError(
        f"the converted flow is not the one that was given: expected its {what} to be off by at "
        f"most {most:g}; got {off:.1e} {where}: is one of its layers a class of your own, derived "
        f"from one of the library's? flowkd.adapt takes the flow as it is"
    )
