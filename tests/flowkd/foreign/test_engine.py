"""Graphs of converted flows compute what the libraries do, at any number of rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial

import normflows as nf
import pytest
import torch
import zuko
from nflows.nn.nets import ConvResidualNet, ResidualNet
from torch import Tensor, nn

import flowkd
from flowkd.flows.context import example_context
from tests.support.foreign_flows import (
    NORMAL,
    T,
    Z,
    log_prob_of,
    moved,
    nflows_of,
    normflows_glow,
)

pytest.importorskip("onnxruntime")

COLUMNS, CONTEXT, WIDTH = 3, 2, 8
SPLINE = {"univariate": zuko.transforms.MonotonicRQSTransform, "shapes": [(3,), (3,), (2,)]}
TAILS = {"num_bins": 3, "tails": "linear", "tail_bound": 3.0}
of_context = partial(ResidualNet, hidden_features=WIDTH, context_features=CONTEXT, num_blocks=1)


def zuko_of(*layers: nn.Module) -> nn.Module:
    zeros, ones = torch.zeros(COLUMNS), torch.ones(COLUMNS)
    return Z.Flow(layers, Z.UnconditionalDistribution(NORMAL, zeros, ones, buffer=True))


def zuko_splines() -> nn.Module:
    given = {"hidden_features": (WIDTH,) * 2, "residual": True}
    return zuko_of(
        Z.ElementWiseTransform(COLUMNS, CONTEXT, hidden_features=(WIDTH,)),
        Z.MaskedAutoregressiveTransform(COLUMNS, CONTEXT, **SPLINE, **given),
    )


def zuko_coupling() -> nn.Module:
    rotation = Z.UnconditionalTransform(zuko.transforms.RotationTransform, torch.randn(3, 3))
    coupling = Z.GeneralCouplingTransform(COLUMNS, hidden_features=(WIDTH,))
    return zuko_of(rotation, coupling, Z.ElementWiseTransform(COLUMNS))


def nflows_splines() -> nn.Module:
    coupling = T.PiecewiseRationalQuadraticCouplingTransform
    mask = torch.tensor([1, 0, 1])
    return nflows_of(T.LULinear(COLUMNS), coupling(mask, of_context, **TAILS), base=standard())


def nflows_inverse() -> nn.Module:
    """What is called IAF: samples are one pass."""
    masked = T.MaskedAffineAutoregressiveTransform(COLUMNS, WIDTH, context_features=CONTEXT)
    return nflows_of(T.InverseTransform(masked), base=standard())


def nflows_pictures() -> nn.Module:
    """A coupling of residual convolutions, which see a vector at every place."""
    net = partial(ConvResidualNet, hidden_channels=3, context_channels=CONTEXT, num_blocks=1)
    flow = nflows_of(T.AffineCouplingTransform([0, 1], net), base=standard([2, 2, 2]))
    flow._embedding_net = nn.Sequential(nn.Unflatten(1, (CONTEXT, 1, 1)), nn.Upsample(size=(2, 2)))
    return flow


def standard(shape: Sequence[int] = (COLUMNS,)) -> nn.Module:
    from nflows.distributions import StandardNormal

    return StandardNormal(shape)


def normflows_of(*layers: nn.Module, context: bool = False) -> nn.Module:
    kind = nf.ConditionalNormalizingFlow if context else nf.NormalizingFlow
    return kind(nf.distributions.DiagGaussian(COLUMNS, trainable=False), list(layers))


def normflows_couplings() -> nn.Module:
    mask = torch.tensor([1.0, 0.0, 1.0])
    net = nf.nets.MLP([2, WIDTH, 2])
    return normflows_of(
        nf.flows.MaskedAffineFlow(mask, nf.nets.MLP([3, WIDTH, 3])), nf.flows.InvertibleAffine(3),
        nf.flows.AffineCouplingBlock(net, scale_map="sigmoid"), nf.flows.LULinearPermute(3),
    )  # fmt: skip


def normflows_splines() -> nn.Module:
    spline = nf.flows.AutoregressiveRationalQuadraticSpline
    given = {"num_bins": 3, "num_context_channels": CONTEXT}
    return normflows_of(spline(COLUMNS, 1, WIDTH, **given), context=True)


# Each flow, and the directions of it that are one pass.
FLOWS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "zuko NSF-AR | context": (zuko_splines, ("log_prob",)),
    "zuko RealNVP": (zuko_coupling, ("log_prob", "inverse")),
    "nflows NSF-C | context": (nflows_splines, ("log_prob", "inverse")),
    "nflows IAF | context": (nflows_inverse, ("inverse",)),
    "nflows, pictures | context": (nflows_pictures, ("log_prob", "inverse")),
    "normflows RealNVP": (normflows_couplings, ("log_prob", "inverse")),
    "normflows NSF-AR | context": (normflows_splines, ("log_prob",)),
    "normflows MAF": (
        lambda: normflows_of(nf.flows.MaskedAffineAutoregressive(COLUMNS, WIDTH)),
        ("inverse",),
    ),
    "normflows Glow of classes": (
        lambda: normflows_glow(levels=1, classes=3, shape=(1, 4, 4)),
        ("log_prob", "inverse"),
    ),
}


def decoded_by(module: nn.Module, z: Tensor, context: Tensor | None) -> Tensor | None:
    """What the library itself makes of latents; None of a base that is not standard."""
    if isinstance(module, zuko.flows.Flow):
        return module(context).transform.inv(z)
    if isinstance(module, nf.MultiscaleFlow):
        return None
    if isinstance(module, nf.NormalizingFlow):
        return module.forward(z)
    return module._transform.inverse(z, module._embedding_net(context))[0]


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_a_graph_of_a_converted_flow_is_the_librarys_flow(name: str) -> None:
    build, directions = FLOWS[name]
    module = moved(build, by=0.05 if "Glow" in name else 0.2)
    flow = flowkd.convert(module)
    fast = flowkd.for_inference(flow, engine="onnx")
    assert fast.engine.directions == directions
    exact = copy.deepcopy(module).double()
    for rows in (1, 2, 7):
        context = example_context(flow.context, flow.context_units, rows)
        z = flow.draw_latents(rows, generator=torch.Generator().manual_seed(rows))
        x = flow.inverse(z, context)
        if "log_prob" in directions:
            known = log_prob_of(exact, x.double(), context)
            got = fast.engine.encode(x, context)
            torch.testing.assert_close(got[1].double(), known, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(got[0], z, rtol=1e-4, atol=1e-4)
        if "inverse" in directions:
            decoded = decoded_by(exact, z.double(), context)
            known = x.double() if decoded is None else decoded
            got = fast.engine.decode(z, context)
            torch.testing.assert_close(got.double(), known, rtol=1e-5, atol=1e-5)


def test_a_flow_that_is_one_pass_in_neither_direction_stays_in_torch_without_a_word(
    recwarn: pytest.WarningsRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWKD_ENGINE", "auto")
    masked = partial(T.MaskedAffineAutoregressiveTransform, COLUMNS, WIDTH)
    both = nflows_of(masked(), T.InverseTransform(masked()), base=standard())
    assert flowkd.for_inference(flowkd.convert(moved(lambda: both, by=0.2))).engine is None
    assert not recwarn.list
