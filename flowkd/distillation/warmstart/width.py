"""Narrower networks: some hidden units stay, and may take over what the others said."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from flowkd.distillation.warmstart.batching import by_rows, flat, leading_rows
from flowkd.distillation.warmstart.layered import layers_of, narrow_layers
from flowkd.distillation.warmstart.select import Select
from flowkd.nn import MLP, Conditioner, ConvNet

GRAM_PLACES = 32768


def narrow(
    large: Conditioner,
    small: Conditioner,
    kept: Tensor,
    context: Tensor | None,
    select: Select,
) -> None:
    """Sets a narrow network from a wide one.

    Args:
        large: The wide network; only read.
        small: Of the same kind, inputs and outputs; is changed.
        kept: What the wide one sees, (B, A, *rest).
        context: Encoded context, (B, width); None for none.
        select: Chooses hidden units from the mean products of all of them, (H, H), what is read
            from them, (R, H), and how many to keep; returns the indices of those, (count,), and
            the (H, count) matrix that makes all units of them.
    """
    if not isinstance(large, ConvNet | MLP):
        seen = leading_rows(kept, context, GRAM_PLACES)
        narrow_layers(layers_of(large), layers_of(small), *seen, select)
        return
    assert isinstance(small, ConvNet | MLP)
    first, second = _products(large, *leading_rows(kept, context, GRAM_PLACES))
    last = large.last.weight.double()
    middle = large.middle.weight.double().flatten(1)
    read = last.movedim(1, -1).flatten(0, -2)
    keep2, rebuild2 = select(second, read, len(small.middle.weight))
    outgoing = (read @ rebuild2).norm(dim=0)
    keep1, rebuild1 = select(first, middle[keep2] * outgoing[:, None], len(small.first.weight))
    _set(small.first, large.first.weight[keep1], _bias(large.first)[keep1])
    if small.context is not None and large.context is not None:
        small.context.weight.copy_(large.context.weight[keep1])
    _set(small.middle, middle[keep2] @ rebuild1, _bias(large.middle)[keep2])
    _set(small.last, torch.einsum("oi...,ij->oj...", last, rebuild2), _bias(large.last))


def _products(
    network: ConvNet | MLP, kept: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns the mean products of the hidden units of both layers, (H, H) each, float64."""
    sums = [torch.zeros((), dtype=torch.float64, device=kept.device) for _ in range(2)]
    for part, vectors in by_rows(kept, context):
        hidden = network.first(part)
        if network.context is not None:
            added = network.context(vectors)
            hidden = hidden + added.view(*added.shape, *[1] * (part.dim() - 2))
        first = relu(hidden)
        for number, units in enumerate((first, relu(network.middle(first)))):
            rows = flat(units)
            sums[number] = sums[number] + (rows.T @ rows).double()
    count = len(flat(kept))
    return sums[0] / count, sums[1] / count


def _bias(layer: nn.Linear | nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _set(layer: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight.view_as(layer.weight))
    _bias(layer).copy_(bias)
