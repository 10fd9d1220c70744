"""The inference form is the same density as the flow that it is made of."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import conv2d

from flowkd.bijectors import Bijector, Chain, Coupling, Standardize
from flowkd.flows.build import build_flow
from flowkd.flows.fast_layers import Convolved, Mix, UnrolledNet, UnrolledPrior, unrolled
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.flows.inference import UNROLLED_VALUES, for_inference
from flowkd.nn import Conditioner
from flowkd.predict.batching import choose_chunk_size
from tests.support.small_flows import (
    CONFIGS,
    ENERGIES,
    PICTURES,
    randomise,
    small_batch,
    small_flow,
)

# What these flows make of rounding, of values of order one.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-3}


def close(flow: Flow, got: torch.Tensor, expected: torch.Tensor) -> None:
    """In units of the data's scale, where data is compared."""
    tolerance = TOLERANCE[got.dtype]
    assert got.dtype == expected.dtype
    if got.shape[1:] == flow.event_shape:
        got, expected = (flow.preprocess(x)[0] for x in (got, expected))
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)


def networks(flow: Flow) -> dict[str, type[Conditioner]]:
    """The kind of each coupling's conditioner, by the coupling's path."""
    couplings = {path: flow.chain[path] for path in flow.taps}
    return {
        path: type(coupling.conditioner)
        for path, coupling in couplings.items()
        if isinstance(coupling, Coupling)
    }


@pytest.fixture(params=[(name, dtype) for name in CONFIGS for dtype in TOLERANCE], ids=str)
def case(request):
    """A flow, its form for inference, and data with context."""
    name, dtype = request.param
    flow = small_flow(name, dtype=dtype)
    return flow, for_inference(flow), *small_batch(flow, dtype=dtype)


def test_the_density_and_the_maps_are_the_same(case):
    flow, fused, x, context = case
    expected, got = flow(x, context), fused(x, context)
    torch.testing.assert_close(got.z, expected.z, rtol=TOLERANCE[x.dtype], atol=TOLERANCE[x.dtype])
    close(flow, got.log_prob, expected.log_prob)
    close(flow, fused.log_prob(x, context), flow.log_prob(x, context))
    close(flow, fused.inverse(expected.z, context), flow.inverse(expected.z, context))
    assert (fused.dimensions, fused.latent_shape) == (flow.dimensions, flow.latent_shape)


def test_the_same_generator_gives_the_same_samples(case):
    flow, fused, x, context = case
    expected, got = (
        each.sample(len(x), context, temperature=0.8, generator=torch.Generator().manual_seed(3))
        for each in (flow, fused)
    )
    close(flow, got, expected)


def test_inverse_undoes_forward(case):
    flow, fused, x, context = case
    z, log_det = fused.chain(x, fused.encode_context(context, x))
    again, log_det_back = fused.chain.inverse(z, fused.encode_context(context, z))
    close(flow, again, x)
    close(flow, log_det_back, -log_det)


def test_the_original_is_left_alone_and_shares_nothing(case):
    flow, _, x, context = case
    before = copy.deepcopy(flow.state_dict())
    fused = for_inference(flow)
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())
    assert all(parameter.requires_grad for parameter in flow.parameters())
    expected = flow.log_prob(x, context)
    with torch.no_grad():
        for value in (*fused.parameters(), *fused.buffers()):
            value.zero_()
    assert torch.equal(flow.log_prob(x, context), expected)


def test_nothing_in_it_learns_and_all_of_it_moves(case):
    _, fused, x, context = case
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert not fused.log_prob(x, context).requires_grad
    for module in fused.modules():
        loose = [name for name, value in vars(module).items() if isinstance(value, torch.Tensor)]
        assert not loose, (module, loose)
    moved = copy.deepcopy(fused).double()
    given = context if context is None or context.dtype == torch.int64 else context.double()
    assert moved.log_prob(x.double(), given).dtype == torch.float64


def test_arguments_are_never_changed(case):
    _, fused, x, context = case
    given = [x, fused(x, context).z]
    before = [value.clone() for value in given]

    def remember(_module, arguments):
        given.append(arguments[0])
        before.append(arguments[0].clone())

    for module in fused.modules():
        if isinstance(module, Bijector | Conditioner):
            module.register_forward_pre_hook(remember)
    fused.log_prob(x, context)
    fused.inverse(given[1], context)
    assert len(given) > len(list(fused.taps))
    assert all(map(torch.equal, given, before))


@pytest.mark.parametrize("height", [1, 2, 3, 4])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_an_unrolled_convolution_is_the_convolution(height, width):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 3, 3, 3, generator=generator, dtype=torch.float64)
    x = torch.randn(7, 3, height, width, generator=generator, dtype=torch.float64)
    got = (x.flatten(1) @ unrolled(weight, (3, height, width))).view(7, 5, height, width)
    torch.testing.assert_close(got, conv2d(x, weight, padding=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("context", [{}, {"classes": 3}, {"context_size": 2, **ENERGIES}], ids=str)
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 8, 16)])
def test_levels_of_many_and_of_few_places_are_one_flow(shape, context):
    config = GlowConfig(
        event_shape=shape, levels=3, depth=(1, 2, 1), width=(5, 4, 6), **PICTURES, **context
    )
    flow = build_flow(config).double()
    randomise(flow, by=0.1)
    fused = for_inference(flow)
    assert set(networks(fused).values()) == {Convolved, UnrolledNet, UnrolledPrior}
    x, given = small_batch(flow)
    expected, got = flow(x, given), fused(x, given)
    torch.testing.assert_close(got.z, expected.z, rtol=1e-10, atol=1e-10)
    close(flow, got.log_prob, expected.log_prob)
    close(flow, fused.inverse(expected.z, given), x)


def test_a_network_too_wide_to_unroll_stays_a_convolution():
    config = GlowConfig(event_shape=(3, 8, 8), levels=2, depth=1, width=(192, 8), **PICTURES)
    flow = build_flow(config).double()
    randomise(flow, by=0.02)
    fused = for_inference(flow)
    kinds = networks(fused)
    assert kinds["level0.step0.coupling"] is Convolved
    assert kinds["level1.step0.coupling"] is UnrolledNet
    assert max(parameter.numel() for parameter in fused.parameters()) <= UNROLLED_VALUES
    x, _ = small_batch(flow)
    close(flow, fused.log_prob(x), flow.log_prob(x))


def test_a_tables_network_is_unrolled_at_any_width():
    flow = small_flow("coupling")
    assert set(networks(for_inference(flow)).values()) == {UnrolledNet}


def test_actnorm_and_what_mixes_are_one_bijector():
    for name in ("glow", "coupling", "coupling, reversing"):
        fused = for_inference(small_flow(name))
        steps = [path for path in fused.taps if path.endswith(".mix")]
        assert steps
        assert all(isinstance(fused.chain[path], Mix) for path in steps)
        assert not any(path.endswith(".actnorm") for path in fused.taps)


def test_taps_that_are_left_have_the_states_of_the_flow():
    flow = small_flow("glow")
    fused = for_inference(flow)
    x, _ = small_batch(flow)
    taps = ["level0.step1", "level0.prior", "level1"]
    expected, got = flow(x, taps=taps).states, fused(x, taps=taps).states
    for tap in taps:
        torch.testing.assert_close(got[tap], expected[tap], rtol=1e-10, atol=1e-10)


def test_rows_share_chunks_as_before():
    for name in CONFIGS:
        assert choose_chunk_size(for_inference(small_flow(name, dtype=torch.float32))) > 1, name


def test_a_network_of_somebody_elses_stays_as_it_is():
    class Other(Conditioner):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, kept, context=None):
            return self.scale * torch.cat([kept, kept], dim=1)

    preprocess = Standardize(0.0, 1.0)
    flow = Flow(Chain({"preprocess": preprocess, "coupling": Coupling(Other(), 1)}), (2,))
    fast, x = for_inference(flow), torch.randn(6, 2)
    assert isinstance(fast.chain["coupling"].conditioner, Other)
    torch.testing.assert_close(fast.log_prob(x), flow.log_prob(x))
