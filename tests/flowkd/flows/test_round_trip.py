"""How far a flow is from undoing itself is measured as it is served, on data and on samples."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from flowkd.bijectors import ActNorm, Chain, Invertible1x1, Standardize
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.flows.round_trip import (
    MAX_ROUND_TRIP_ERROR,
    round_trip_error,
    served_round_trip_error,
)
from tests.support.small_flows import CONFIGS, randomise, small_batch, small_flow


def test_the_round_trip_is_that_of_the_worst_value():
    class OffOnce(Standardize):
        def inverse(self, z, context=None):
            x, log_det = super().inverse(z, context)
            return x + torch.eye(len(x))[:, :2] * torch.tensor([0.5, -0.75]), log_det

    flow = Flow(Chain({"preprocess": OffOnce(0.0, 1.0), "norm": ActNorm(2)}), (2,))
    assert round_trip_error(flow, torch.randn(10, 2)) == pytest.approx(0.75, rel=1e-5)


def test_the_round_trip_is_measured_in_preprocessed_units():
    class Off(Standardize):
        def inverse(self, z, context=None):
            x, log_det = super().inverse(z, context)
            return x + 0.5, log_det

    def flow(preprocess):
        return Flow(Chain({"preprocess": preprocess, "norm": ActNorm(2)}), (2,))

    x = 100 * torch.randn(10, 2)
    assert round_trip_error(flow(Off(0.0, 100.0)), x) == pytest.approx(0.005, rel=1e-3)
    assert round_trip_error(flow(Standardize(0.0, 100.0)), x) < 1e-6


@pytest.mark.parametrize("name", CONFIGS)
def test_a_sound_flow_undoes_itself_with_and_without_data(name):
    flow = randomise(build_flow(CONFIGS[name]).double(), by=0.1)
    x, context = small_batch(flow, rows=5)
    before = copy.deepcopy(flow.state_dict())
    assert 0 < served_round_trip_error(flow) < 1e-3
    assert 0 < served_round_trip_error(flow, x, context) < 1e-3
    assert all(torch.equal(value, before[key]) for key, value in flow.state_dict().items())
    assert next(flow.parameters()).dtype == torch.float64


def moved_factors() -> Flow:
    """LU factors of 1000 columns, each moved by what one step may move it."""
    flow = build_flow(CouplingConfig(event_shape=(1000,), mean=0.0, scale=1.0, depth=2, width=4))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for mix in flow.modules():
            if isinstance(mix, Invertible1x1):
                mix.lower.add_(0.02 * torch.randn(1000, 1000, generator=generator))
                mix.upper.add_(0.02 * torch.randn(1000, 1000, generator=generator))
    return flow


def scales_side_by_side() -> Flow:
    """1x1 convolutions that scale one channel by e^8, and its neighbour by e^-8."""
    flow = build_flow(
        GlowConfig(event_shape=(3, 4, 4), mean=0.0, scale=1.0, levels=1, depth=2, width=4)
    )
    with torch.no_grad():
        for mix in flow.modules():
            if isinstance(mix, Invertible1x1):
                mix.log_diagonal[:2] = torch.tensor([8.0, -8.0])
    return flow


@pytest.mark.parametrize("build", [moved_factors, scales_side_by_side])
def test_parameters_that_float32_cannot_invert_are_seen_without_any_data(build):
    assert served_round_trip_error(build()) > 10 * MAX_ROUND_TRIP_ERROR


def test_values_that_are_not_finite_have_an_infinite_error():
    flow = small_flow("coupling", dtype=torch.float32)
    x, _ = small_batch(flow, dtype=torch.float32)
    assert served_round_trip_error(flow, torch.full_like(x, 1e30)) == math.inf
    with torch.no_grad():
        next(flow.parameters())[0] = math.nan
    assert served_round_trip_error(flow) == math.inf


def test_one_sample_in_a_hundred_may_be_lost_and_no_more():
    class Lost(Standardize):
        """Has no finite sample beyond a value."""

        above = 0.0

        def inverse(self, z, context=None):
            x, log_det = super().inverse(z, context)
            return torch.where(z > self.above, math.inf, x), log_det

    preprocess = Lost(0.0, 1.0)
    flow = Flow(Chain({"preprocess": preprocess, "norm": ActNorm(1)}), (1,))
    z = flow.draw_latents(256, generator=torch.Generator().manual_seed(0)).flatten().sort().values
    preprocess.above = (z[-3] + z[-2]).item() / 2
    assert served_round_trip_error(flow) < 1e-5
    preprocess.above = (z[-5] + z[-4]).item() / 2
    assert served_round_trip_error(flow) == math.inf
