"""The same weights give what other libraries' autoregressive maps give, in both directions."""

import pytest
import torch
import zuko
from nflows.transforms.autoregressive import (
    MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
)

from flowkd.bijectors import Affine, Autoregressive, RationalQuadratic
from flowkd.bijectors.scales import ClippedScale, SoftplusScale
from flowkd.bijectors.spline import ClippedShares, ExpSlopes, SoftplusSlopes
from flowkd.nn import MADE
from flowkd.nn.made import Activation, Masked, Residual
from tests.support.small_flows import randomise

COLUMNS, CONTEXT, BINS = 5, 2, 4


def by_parameter(outputs):
    """Rows of column-major outputs, in the order of parameter-major ones."""
    return torch.arange(outputs).view(COLUMNS, -1).T.flatten()


def masked(layer, *, context=None, rows=slice(None), **options):
    """A Masked of another library's layer, and of what adds the context."""
    width = CONTEXT if context is not None else 0
    made = Masked(layer.mask[rows], width, context_bias=True, **options).double()
    weight, bias = layer.weight[rows], layer.bias[rows]
    with torch.no_grad():
        made.weight.copy_(weight)
        made.bias.copy_(bias)
        if context is not None:
            made.context.load_state_dict(context.state_dict())
    return made


def of_nflows(spline):
    options = {"features": COLUMNS, "hidden_features": 7, "context_features": CONTEXT}
    if spline:
        other = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
            num_bins=BINS, tails="linear", tail_bound=3.0, **options
        )
    else:
        other = MaskedAffineAutoregressiveTransform(**options)
    net = randomise(other.double()).autoregressive_net
    outputs = len(net.final_layer.bias)
    last = masked(net.final_layer, rows=by_parameter(outputs))
    if not spline:  # nflows has the scale first, then the shift
        last = masked(net.final_layer, rows=by_parameter(outputs).view(2, -1).flip(0).flatten())
    blocks = [
        Residual(
            [
                Activation("relu"),
                masked(block.linear_layers[0], context=block.context_layer),
                Activation("relu"),
                masked(block.linear_layers[1]),
            ]
        )
        for block in net.blocks
    ]
    first = masked(net.initial_layer, context=net.context_layer, activation="relu")
    transform = (
        RationalQuadratic(BINS, 3.0, slopes=SoftplusSlopes()) if spline else Affine(SoftplusScale())
    )
    return Autoregressive(MADE([first, *blocks, last]), transform), other.forward, other.inverse


def of_zuko(spline):
    options = {"hidden_features": (7, 6), "order": [3, 0, 4, 1, 2]}
    if spline:
        shapes = {"univariate": zuko.transforms.MonotonicRQSTransform}
        shapes["shapes"] = [(BINS,), (BINS,), (BINS - 1,)]
    else:
        shapes = {}
    lazy = zuko.flows.MaskedAutoregressiveTransform(COLUMNS, CONTEXT, **options, **shapes)
    randomise(lazy.double())
    parts = []
    for layer in lazy.hyper:
        if not hasattr(layer, "mask"):
            parts.append(Activation("relu"))
            continue
        last = layer is lazy.hyper[-1]
        rows = by_parameter(len(layer.bias)) if last else slice(None)
        if not parts:  # its context is among the inputs
            first = Masked(layer.mask[:, :COLUMNS], CONTEXT).double()
            with torch.no_grad():
                first.weight.copy_(layer.weight[:, :COLUMNS])
                first.context.weight.copy_(layer.weight[:, COLUMNS:])
                first.bias.copy_(layer.bias)
            parts.append(first)
        else:
            parts.append(masked(layer, rows=rows))
    transform = (
        RationalQuadratic(BINS, 5.0, ClippedShares(), ExpSlopes())
        if spline
        else Affine(ClippedScale())
    )

    def forward(x, context):
        z, log_det = lazy(context).call_and_ladj(x)
        return z, log_det

    def inverse(z, context):
        x, log_det = lazy(context).inv.call_and_ladj(z)
        return x, log_det

    return Autoregressive(MADE(parts), transform), forward, inverse


@pytest.mark.parametrize("spline", [False, True], ids=["affine", "spline"])
@pytest.mark.parametrize("build", [of_nflows, of_zuko])
@torch.no_grad()
def test_equal_weights_give_equal_values_both_ways(build, spline):
    ours, forward, inverse = build(spline)
    x = 2 * torch.randn(50, COLUMNS, dtype=torch.float64)
    context = torch.randn(50, CONTEXT, dtype=torch.float64)
    # What gives a bin or a scale its least value is not the same to the last bit.
    close = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(ours(x, context), forward(x, context), **close)
    torch.testing.assert_close(ours.inverse(x, context), inverse(x, context), **close)
