"""What is recorded within a flow: the complete state, and log|det| of all that led there."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import jacobian as jacobian_of

from tests.support.small_flows import CONFIGS, small_batch, small_flow


@pytest.mark.parametrize("name", CONFIGS)
def test_a_states_log_det_is_that_of_the_jacobian_up_to_there(name: str) -> None:
    flow = small_flow(name)
    x, context = small_batch(flow, rows=1)
    given = flow.encode_context(context, x)
    taps = list(flow.taps)
    _, _, states = flow.chain.record(x, given, taps)
    for tap in taps:
        jacobian = jacobian_of(lambda x, tap=tap: flow.chain.record(x, given, [tap])[2][tap].h, x)
        size = x.numel()
        expected = torch.linalg.slogdet(jacobian.reshape(size, size))[1]
        torch.testing.assert_close(states[tap].log_det[0], expected, msg=lambda m, tap=tap: tap + m)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("glow")])
def test_channels_that_a_bijector_does_not_see_stay_behind_those_that_it_sees(name: str) -> None:
    flow = small_flow(name)
    x, context = small_batch(flow)
    states = flow(x, context, list(flow.taps)).states
    before = x
    for tap, place in flow.taps.items():
        state = states[tap].h
        assert state.shape[1:] == place.shape
        if before.shape == state.shape:
            assert torch.equal(state[:, place.channels :], before[:, place.channels :])
        before = state
    torch.testing.assert_close(before, flow(x, context).z)
