"""What is computed once, for the form for inference, is computed in float64."""

from __future__ import annotations

import torch

from flowkd.bijectors import Invertible1x1
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.inference import for_inference
from tests.support.small_flows import randomise


def test_a_matrix_far_from_a_rotation_is_inverted_as_exactly_as_float32_can_hold_it() -> None:
    config = CouplingConfig(event_shape=(8,), mean=0.0, scale=1.0, depth=1, width=4)
    flow = build_flow(config)
    randomise(flow)
    mix = next(module for module in flow.modules() if isinstance(module, Invertible1x1))
    places = torch.arange(1.0, 9.0, dtype=torch.float64)
    mix.set_weight(1 / (places[:, None] + places - 1) + 1e-4 * torch.eye(8).double())
    z = torch.randn(100, 8)
    with torch.no_grad():
        exact = flow.double().inverse(z.double())
        got = for_inference(flow.float()).inverse(z)
    error = (got - exact).norm() / exact.norm()
    assert error < 1e-6  # of an inverse that was rounded once; else 100 times as much
