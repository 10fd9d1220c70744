"""Flows of nflows, normflows and zuko become flows of flowkd of the same density."""

from __future__ import annotations

import copy
import math

import normflows as nf
import pytest
import torch
import zuko
from nflows.nn.nets import ResidualNet
from torch import nn

import flowkd
from flowkd.errors import ConversionError
from flowkd.flows.build import build_flow, config_of
from flowkd.flows.context import example_context
from tests.support.foreign_flows import (
    CONTEXT,
    SAME,
    D,
    T,
    Z,
    log_prob_of,
    moved,
    nflows_of,
    nflows_picture_splines,
    nflows_pictures_of_vectors,
    normflows_glow,
    normflows_of,
    same,
)


@pytest.mark.parametrize("name", SAME)
@torch.no_grad()
def test_a_converted_flow_is_the_same_density_both_ways(name: str) -> None:
    module = same(name)
    exact = flowkd.convert(copy.deepcopy(module).double())
    flow = copy.deepcopy(exact).float()
    context = example_context(flow.context, flow.context_units, 64)
    x = exact.sample(64, context, generator=torch.Generator().manual_seed(1))
    seen = context if context is None or flow.context.classes else context.double()
    known = log_prob_of(copy.deepcopy(module).double(), x, seen)
    size = known.abs().clamp(min=1.0)
    assert ((exact.log_prob(x, context) - known).abs() / size).max() <= 1e-8
    x, seen = x.float(), seen if seen is None or flow.context.classes else seen.float()
    known, got = log_prob_of(module, x, seen), flow.log_prob(x, context)
    # Of some rows float32 has no digits left, in either library.
    assert ((got - known).abs() / size).median() <= 1e-5
    assert (flow.inverse(flow(x, context).z, context) - x).abs().median() <= 1e-5
    # It is built again from its config and weights alone.
    config = config_of(flow)
    again = build_flow(type(config).model_validate(config.model_dump(mode="json")))
    again.load_state_dict(flow.state_dict())
    assert torch.equal(again.log_prob(x, context), got)


def test_every_kind_of_layer_network_and_map_is_among_them() -> None:
    found, kinds = set(), {"norm", "linear", "permute", "squeeze", "logit", "coupling"}
    for name in ("zuko, mixed", "normflows Glow from a logit"):
        found |= {layer.kind for layer in config_of(flowkd.convert(same(name))).layers}
    assert found == kinds | {"autoregressive", "elementwise"}


def test_a_standardising_layer_becomes_the_mean_and_scale() -> None:
    mean, scale = torch.tensor([3e4, -2.0]), torch.tensor([1e3, 0.5])
    first = T.PointwiseAffineTransform(-mean / scale, 1 / scale)
    flow = flowkd.convert(
        moved(lambda: nflows_of(first, T.ActNorm(2), base=nflows_base(2)), by=0.1)
    )
    assert config_of(flow).mean == pytest.approx(mean.tolist())
    assert config_of(flow).scale == pytest.approx(scale.tolist())


def nflows_base(size: int) -> nn.Module:
    from nflows.distributions import StandardNormal

    return StandardNormal([size])


def test_units_are_those_of_the_data_before_they_were_standardised() -> None:
    module = same("zuko NSF | context")
    mean, scale = [1.0, 2.0, 3.0, 4.0, 5.0], 10.0
    flow = flowkd.convert(
        module, mean=mean, scale=scale, context_mean=100.0, context_scale=[1.0, 2.0, 3.0]
    )
    inner, c = torch.randn(8, D), torch.randn(8, CONTEXT)
    x = inner * scale + torch.tensor(mean)
    known = module(c).log_prob(inner) - D * math.log(scale)
    got = flow.log_prob(x, c * torch.tensor([1.0, 2.0, 3.0]) + 100.0)
    torch.testing.assert_close(got, known, rtol=1e-4, atol=1e-4)


def test_a_float64_flow_stays_one() -> None:
    assert flowkd.convert(same("zuko MAF | context").double()).sample(1, torch.zeros(1, 2)).dtype


def test_its_form_for_inference_is_the_same(recwarn: pytest.WarningsRecorder) -> None:
    for name in ("normflows Glow", "nflows NSF-C | context"):
        flow = flowkd.convert(same(name))
        fast = flowkd.for_inference(flow, engine="torch")
        context = example_context(flow.context, flow.context_units, 16)
        x = flow.sample(16, context, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(
            fast.log_prob(x, context), flow.log_prob(x, context), rtol=1e-4, atol=1e-3
        )


def test_a_converted_autoregressive_flow_can_be_trained_on_and_stays_one() -> None:
    flow = flowkd.convert(same("zuko NSF")).requires_grad_(True)
    x = torch.randn(32, D)
    for _ in range(3):
        loss = -flow.log_prob(x).mean()
        loss.backward()
        with torch.no_grad():
            for parameter in flow.parameters():
                parameter -= 1e-2 * parameter.grad
                parameter.grad = None
    assert (flow.inverse(flow(x).z) - x).abs().max() < 1e-3


class Scaled(Z.NSF):
    """A subclass that computes something else than its class."""

    def forward(self, c=None):
        whole = super().forward(c)
        twice = torch.distributions.AffineTransform(0.0, 2.0)
        both = [whole.transform, zuko.transforms.DependentTransform(twice, 1)]
        return zuko.distributions.NormalizingFlow(
            zuko.transforms.ComposedTransform(*both), whole.base
        )


def plain_net(inputs: int, outputs: int) -> nn.Module:
    return nn.Linear(inputs, outputs)


REFUSED = {
    "base (BoxUniform): expected a base that is DiagNormal": lambda: Z.NCSF(3),
    "transform (FFJTransform): flowkd has no such layer": lambda: Z.CNF(3),
    r"transform.transforms.0.univariate (MNN)": lambda: Z.NAF(3),
    "transform.transforms.0.hyper.0 (LayerNorm): expected an activation": lambda: Z.NICE(
        4, hidden_features=(8,), normalize=True
    ),
    "the converted flow is not the one that was given: expected its": lambda: Scaled(3),
    "_transform._transforms.0._transform (Sigmoid): flowkd has no such layer": lambda: nflows_of(
        T.InverseTransform(T.Sigmoid())
    ),
    "_transform (MultiscaleCompositeTransform): expected a split of dimension 1; got 2": (
        lambda: of_pictures(T.MultiscaleCompositeTransform(1, split_dim=2))
    ),
    "_embedding_net (Identity): expected one that puts a vector at every place": (
        lambda: nflows_picture_splines(context_channels=2)
    ),
    "_embedding_net (Unflatten): expected one that puts a vector, or a linear map of it": (
        lambda: embedded(nflows_picture_splines(context_channels=2), nn.Unflatten(1, (2, 2, 2)))
    ),
    "_embedding_net (Sequential): expected one that puts a vector, or a linear map of it": (
        lambda: embedded(nflows_pictures_of_vectors(), nn.Tanh())
    ),
    "_embedding_net (Linear): expected no network before the context": (
        lambda: embedded(same("nflows NSF-C | context"), nn.Linear(4, CONTEXT))
    ),
    "_transform._transforms.2.transform_net.blocks.0 (ConvResidualBlock): expected no batch": (
        lambda: nflows_picture_splines(use_batch_norm=True)
    ),
    "transform_net (Conv2d): expected nflows.nn.nets.ConvResidualNet: use the flow as it is": (
        lambda: of_pictures(
            T.AffineCouplingTransform(torch.arange(2), lambda *sizes: nn.Conv2d(*sizes, 1))
        )
    ),
    "_transform (BatchNorm): flowkd has no such layer for pictures": lambda: of_pictures(
        T.BatchNorm(2)
    ),
    "expected pictures (C, H, W) for SqueezeTransform; got (5,)": (
        lambda: nflows_of(T.SqueezeTransform())
    ),
    "expected linear tails beyond one bound; got tails None": lambda: nflows_of(
        T.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(D, 8)
    ),
    "_transform._transforms.0.transform_net (Linear): expected nflows.nn.nets.ResidualNet": (
        lambda: nflows_of(T.AffineCouplingTransform(torch.arange(D) % 2, plain_net))
    ),
    "blocks.0 (MaskedResidualBlock): expected no batch normalisation within": lambda: nflows_of(
        T.MaskedAffineAutoregressiveTransform(D, 8, use_batch_norm=True)
    ),
    "flows.0 (Planar): flowkd has no such layer": lambda: normflows_of(nf.flows.Planar((D,))),
    "flows.1.0.flows.2 (ActNorm): it has not seen data yet": lambda: copy_unseen(),
    "expected a split by channel; got checkerboard": lambda: normflows_of(
        nf.flows.AffineCouplingBlock(nf.nets.MLP([2, 8, 4]), split_mode="checkerboard")
    ),
    "expected a flow of nflows, normflows, zuko; got Sequential; its part '0' is one": (
        lambda: nn.Sequential(Z.NSF(3))
    ),
}


def embedded(flow: nn.Module, after: nn.Module) -> nn.Module:
    before = flow._embedding_net
    flow._embedding_net = after if isinstance(before, nn.Identity) else nn.Sequential(before, after)
    return flow


def of_pictures(layer: nn.Module) -> nn.Module:
    from nflows import distributions, flows

    return flows.Flow(layer, distributions.StandardNormal([2, 4, 4]))


def copy_unseen() -> nn.Module:
    flow = normflows_glow()
    for module in flow.modules():
        if isinstance(module, nf.flows.ActNorm):
            module.data_dep_init_done = torch.tensor(0.0)
    return flow


@pytest.mark.parametrize("words", REFUSED)
def test_what_flowkd_has_not_is_refused_by_name_and_class(words: str) -> None:
    module = REFUSED[words]()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(ConversionError) as error:
        flowkd.convert(module)
    assert words in str(error.value)
    assert "flowkd.adapt" in str(error.value) or words.startswith("expected ")
    assert "\n" not in str(error.value)
    assert "0x" not in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


def test_nets_of_other_widths_are_told_apart_by_their_context() -> None:
    def other(inputs: int, outputs: int) -> nn.Module:
        return ResidualNet(inputs, outputs, hidden_features=8, context_features=2)

    first = T.AffineCouplingTransform(torch.arange(D) % 2, other)
    second = T.MaskedAffineAutoregressiveTransform(D, 8, context_features=CONTEXT)
    with pytest.raises(ConversionError, match="expected a context of 2 values; got 3"):
        flowkd.convert(nflows_of(first, second))
