"""Narrower networks of layers one after the other: what is made up for without loss."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flowkd.distillation.warmstart import groups, select
from flowkd.distillation.warmstart.groups import narrow_groups
from flowkd.nn import MADE, Conditioner
from flowkd.nn.dense import Dense, Layer
from flowkd.nn.made import Activation, Masked, Residual, masked_mlp

COLUMNS, FEW, MANY = 4, 6, 12


def dense(width: int) -> Conditioner:
    return Dense([Layer(COLUMNS, width), Activation("tanh"), Layer(width, 2 * COLUMNS)])


def residual(width: int) -> Conditioner:
    block = [Activation("tanh"), Layer(width, width), Activation("tanh"), Layer(width, width)]
    return Dense([Layer(COLUMNS, width), Residual(block), Layer(width, 3)])


def masked(width: int) -> Conditioner:
    return masked_mlp(COLUMNS, 2 * COLUMNS, width, activation="tanh")


def moved(network: Conditioner) -> Conditioner:
    for parameter in network.double().parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    return network


def rows() -> Tensor:
    return torch.randn(200, COLUMNS).double()


@pytest.mark.parametrize("build", [dense, residual, masked])
@torch.no_grad()
def test_units_that_never_change_are_made_up_for_by_a_bias(
    build: type[Conditioner], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, key in ((groups, "SHRINKAGE"), (select, "SHRINKAGE"), (select, "RIDGE")):
        monkeypatch.setattr(module, key, 1e-12)
    torch.manual_seed(0)
    large, small = moved(build(MANY)), build(FEW).double()
    for layer in linear_layers(large):
        weight, bias = (layer.weight, layer.bias)
        if len(weight) == MANY:
            weight[::2], bias[::2] = 0.0, 0.5 + torch.rand(MANY // 2).double()
    x = rows()
    narrow_groups(large, small, x, None)
    if isinstance(small, MADE):
        small.load_state_dict(small.state_dict())
    torch.testing.assert_close(small(x), large(x), rtol=1e-4, atol=1e-4)


def linear_layers(network: Conditioner) -> list[nn.Linear | Masked]:
    return [each for each in network.modules() if isinstance(each, nn.Linear | Masked)]
