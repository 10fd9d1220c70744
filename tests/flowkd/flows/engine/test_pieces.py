"""A flow's pieces compute the flow, and are as many for many steps as for a few."""

from __future__ import annotations

import pytest
import torch

import flowkd
from flowkd.bijectors import ActNorm, Chain, Standardize
from flowkd.bijectors.columns import Asinh, Selected
from flowkd.flows.build import build_flow
from flowkd.flows.engine.graphs import directions_of, example_inputs
from flowkd.flows.engine.layers import Exported
from flowkd.flows.engine.pieces import Pieces, Recording
from flowkd.flows.flow import Flow
from tests.support.small_flows import CONFIGS, randomise, small_batch


def taken_apart(flow: Flow) -> tuple[Pieces, dict[str, Recording]]:
    pieces = Pieces(Exported(flow))
    return pieces, {
        direction: pieces.record(direction, *example_inputs(flow, direction))
        for direction in directions_of(flow)
    }


def played(pieces: Pieces, recording: Recording, *given: torch.Tensor | None):
    """What calls make, as a graph computes them: by names, each of the piece that it shares."""
    values = dict(pieces.weights)
    for each, value in zip(recording.inputs, given, strict=False):
        values[each.name] = value
    for call in recording.calls:
        inputs = [values[name] for name in (*call.inputs, *call.weights)]
        made = pieces.distinct[call.piece].run(inputs)
        values.update(zip((each.name for each in call.outputs), made, strict=True))
    return [values[each.name] for each in recording.outputs]


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_the_calls_of_pieces_compute_the_flow(name):
    flow = randomise(build_flow(CONFIGS[name]), by=0.1)
    x, context = small_batch(flow, 7, dtype=torch.float32)
    pieces, recordings = taken_apart(flow)
    form = Exported(flow)
    z = torch.randn(7, *flow.latent_shape)
    if "log_prob" in recordings:
        known = form.log_prob(x, context)
        torch.testing.assert_close(
            played(pieces, recordings["log_prob"], x, context), list(known), rtol=0, atol=0
        )
    if "inverse" in recordings:
        known = form.inverse(z, context)
        (got,) = played(pieces, recordings["inverse"], z, context)
        torch.testing.assert_close(got, known, rtol=0, atol=0)


@pytest.mark.parametrize(
    "family",
    [
        lambda depth: flowkd.coupling(6, depth=depth, width=4, transform="spline"),
        lambda depth: flowkd.coupling(6, depth=depth, width=4, mix="reverse"),
        lambda depth: flowkd.autoregressive(4, depth=depth, width=4),
        lambda depth: flowkd.glow((1, 8, 8), levels=2, depth=depth, width=4),
    ],
    ids=["splines", "reversing", "autoregressive", "glow"],
)
def test_a_deeper_flow_has_no_more_pieces(family):
    few, many = (taken_apart(randomise(family(depth), by=0.1)) for depth in (2, 7))
    assert len(many[0].distinct) == len(few[0].distinct)
    assert len(many[1]["log_prob"].calls) > 2 * len(few[1]["log_prob"].calls)


@torch.no_grad()
def test_steps_on_other_columns_are_other_pieces():
    maps = {
        f"asinh{column}": Selected(Asinh([0.0], [0.1]), [column]).requires_grad_(False)
        for column in (0, 2)
    }
    parts = {"preprocess": Standardize(0.0, 1.0), **maps, "actnorm": ActNorm(3)}
    flow = Flow(Chain(parts), (3,))
    pieces, recordings = taken_apart(flow)
    x = torch.randn(5, 3)
    _, z = played(pieces, recordings["log_prob"], x)
    torch.testing.assert_close(z, flow(x).z)


def test_a_flow_that_was_copied_in_part_has_no_more_pieces():
    flow = flowkd.coupling(6, depth=3, width=4)
    other = flowkd.coupling(6, depth=3, width=4, seed=1)
    flow.chain["step1.coupling"].load_state_dict(other.chain["step2.coupling"].state_dict())
    assert len(taken_apart(flow)[0].distinct) == len(taken_apart(other)[0].distinct)
