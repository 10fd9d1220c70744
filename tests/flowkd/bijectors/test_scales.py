"""Log-scales of affine maps: others' for the same parameters."""

import pytest
import torch
from nflows.transforms import AffineCouplingTransform, MaskedAffineAutoregressiveTransform
from normflows.flows.affine.coupling import AffineCoupling
from torch import nn
from zuko.transforms import MonotonicAffineTransform

from flowkd.bijectors import Affine, Reversed
from flowkd.bijectors.scales import ClippedScale, ExpScale, SigmoidScale, SoftplusScale

ROWS, COLUMNS = 50, 3


class Given(nn.Module):
    """A network that says what it is told to."""

    def __init__(self, parameters):
        super().__init__()
        self.made = parameters

    def forward(self, *_):
        return self.made


def by_zuko(x, shift, u):
    return MonotonicAffineTransform(shift, u, slope=1e-3).call_and_ladj(x)


def by_coupling_of_nflows(x, shift, u):
    mask = torch.cat([torch.zeros(1), torch.ones(COLUMNS)])
    made = torch.cat([shift, u], dim=1)
    coupling = AffineCouplingTransform(mask, lambda *_: Given(made))
    z, log_det = coupling(torch.cat([torch.zeros_like(x[:, :1]), x], dim=1))
    return z[:, 1:], log_det


def by_autoregressive_of_nflows(x, shift, u):
    transform = MaskedAffineAutoregressiveTransform(COLUMNS, 4)
    return transform._elementwise_forward(x, torch.stack([u, shift], dim=2).flatten(1))


def by_normflows(scale_map):
    def encode(x, shift, u):
        made = torch.stack([shift, u], dim=2).flatten(1)
        coupling = AffineCoupling(Given(made), scale_map=scale_map)
        (_, z), log_det = coupling.inverse([torch.zeros_like(x), x])
        return z, log_det

    return encode


CASES = {
    "zuko": (Affine(ClippedScale(1e-3)), by_zuko),
    "nflows, coupling": (Affine(SigmoidScale()), by_coupling_of_nflows),
    "nflows, autoregressive": (Affine(SoftplusScale()), by_autoregressive_of_nflows),
    "normflows, exp": (Reversed(Affine(ExpScale())), by_normflows("exp")),
    "normflows, sigmoid": (
        Reversed(Affine(SigmoidScale(least=0.0, over=True))),
        by_normflows("sigmoid"),
    ),
    "normflows, sigmoid_inv": (
        Reversed(Affine(SigmoidScale(least=0.0))),
        by_normflows("sigmoid_inv"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_others_for_the_same_parameters(name):
    transform, theirs = CASES[name]
    generator = torch.Generator().manual_seed(0)
    x, shift, u = 3 * torch.randn(3, ROWS, COLUMNS, generator=generator, dtype=torch.float64)
    parameters = torch.cat([shift, u], dim=1)
    z, log_slope = transform.forward(x, parameters)
    expected, log_det = theirs(x, shift, u)
    torch.testing.assert_close(z, expected, rtol=1e-9, atol=1e-9)
    if log_det.dim() == 1:
        log_slope = log_slope.sum(1)
    torch.testing.assert_close(log_slope, log_det, rtol=1e-9, atol=1e-9)
    again, back = transform.inverse(z, parameters)
    torch.testing.assert_close(again, x, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(back, -transform.forward(x, parameters)[1], rtol=1e-9, atol=1e-9)
