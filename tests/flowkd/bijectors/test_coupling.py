"""How far a coupling may scale: softly, up to a bound."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from flowkd.bijectors import Coupling
from flowkd.bijectors.affine import couple
from flowkd.nn import Conditioner


class Constant(Conditioner):
    """No shift, and the same raw log-scale everywhere."""

    def __init__(self, raw: float) -> None:
        super().__init__()
        self.raw = raw

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        return torch.cat([torch.zeros_like(kept), torch.full_like(kept, self.raw)], dim=1)


@pytest.mark.parametrize("raw", [-100.0, -3.0, -0.01, 0.0, 0.01, 3.0, 100.0])
def test_the_log_scale_is_bounded_by_2_and_near_0_what_the_network_says(raw: float) -> None:
    coupling = Coupling(Constant(raw), 3)
    x = torch.randn(5, 6, dtype=torch.float64)
    expected = 2 * math.tanh(raw / 2)
    for value, log_scale in ((coupling(x), expected), (coupling.inverse(x), -expected)):
        torch.testing.assert_close(value[1], torch.full((5,), 3 * log_scale).double())
        torch.testing.assert_close(value[0][:, 3:], x[:, 3:] * math.exp(log_scale))
        assert torch.equal(value[0][:, :3], x[:, :3])
    assert abs(expected) <= 2
    assert expected == pytest.approx(raw, rel=1e-4) or abs(raw) > 0.01


@pytest.mark.parametrize("rest", [(), (3, 2)])
def test_the_gradient_by_hand_is_autograds_and_can_be_differentiated_again(
    rest: tuple[int, ...],
) -> None:
    values = [torch.randn(4, size, *rest).double().requires_grad_() for size in (2, 3, 3, 3)]
    assert torch.autograd.gradcheck(couple, values)
    assert torch.autograd.gradgradcheck(couple, values)
