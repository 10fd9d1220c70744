"""The form that is exported is the same density, whatever the family, before any graph is made."""

from __future__ import annotations

import copy

import pytest
import torch

from flowkd.flows.build import build_flow
from flowkd.flows.engine.layers import Exported
from flowkd.flows.glow import GlowConfig
from tests.support.own_network import OwnNetwork, one_coupling
from tests.support.small_flows import CONFIGS, PICTURES, randomise, small_batch

LEVELS = GlowConfig(event_shape=(3, 16, 16), levels=3, depth=1, width=5, **PICTURES)
CASES = {
    **{name: lambda name=name: build_flow(CONFIGS[name]) for name in CONFIGS},
    "three levels": lambda: build_flow(LEVELS),
    "a network of somebody's own": lambda: one_coupling(OwnNetwork()),
}


@torch.no_grad()
@pytest.mark.parametrize("name", CASES)
def test_the_exported_form_is_the_flow_and_leaves_it_alone(name):
    flow = randomise(CASES[name](), by=0.1)
    x, context = small_batch(flow, dtype=torch.float32)
    before = copy.deepcopy(flow.state_dict())
    form, exact = Exported(flow), copy.deepcopy(flow).double()
    expected = exact(x.double(), context)
    log_prob, z = form.log_prob(x, context)
    torch.testing.assert_close(log_prob.double(), expected.log_prob, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(z.double(), expected.z, rtol=1e-4, atol=1e-4)
    back, known = form.inverse(z, context), exact.inverse(z.double(), context)
    back, known = flow.preprocess(back)[0], exact.preprocess(known)[0]
    torch.testing.assert_close(back.double(), known, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in flow.state_dict().items())
