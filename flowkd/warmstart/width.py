"""Narrower networks: the hidden units stay from which the others are best reconstructed."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from flowkd.bijectors import AffineCoupling, Chain
from flowkd.conditioners import MLP, ConvNet
from flowkd.flow import Flow
from flowkd.warmstart.depth import Affine, flat, walk

RIDGE = 1e-6
SHRINKAGE = 1e-4


def coupling_inputs(flow: Flow, x: Tensor, context: Tensor | None) -> Iterator[tuple[str, Tensor]]:
    """Yields each step's coupling by path, with what its network sees."""
    h = x
    for unit in walk(flow):
        if isinstance(unit.bijector, Chain):
            coupling = unit.bijector["coupling"]
            assert isinstance(coupling, AffineCoupling)
            seen = Affine.of(unit.bijector)(h[:, : unit.channels])
            yield f"{unit.path}.coupling", seen[:, : coupling.kept]
        h, _ = unit(h, context)


def fold_width(large: object, small: object, kept: Tensor, context: Tensor | None) -> None:
    """Sets a narrow network from a wide one on what it sees."""
    assert isinstance(large, ConvNet | MLP)
    assert isinstance(small, ConvNet | MLP)
    hidden = large.first(kept)
    if large.context is not None:
        hidden = hidden + large.context(context).view(len(kept), -1, *[1] * (kept.dim() - 2))
    first = relu(hidden)
    second = relu(large.middle(first))
    last = large.last.weight.double()
    middle = large.middle.weight.double().flatten(1)
    outgoing = last.movedim(1, 0).flatten(1).norm(dim=1)
    keep2, rebuild2 = _select(flat(second), outgoing, small.middle.weight.shape[0])
    keep1, rebuild1 = _select(flat(first), middle[keep2].norm(dim=0), len(small.first.weight))
    _set(small.first, large.first.weight[keep1], _bias(large.first)[keep1])
    if small.context is not None and large.context is not None:
        small.context.weight.copy_(large.context.weight[keep1])
    _set(small.middle, middle[keep2] @ rebuild1, _bias(large.middle)[keep2])
    _set(small.last, torch.einsum("oi...,ij->oj...", last, rebuild2), _bias(large.last))


def _bias(layer: nn.Linear | nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _set(layer: nn.Linear | nn.Conv2d, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight.view_as(layer.weight))
    _bias(layer).copy_(bias)


def _select(activations: Tensor, weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Chooses units by orthogonal matching pursuit of all units, each at its weight.

    Args:
        activations: Of all units, (N, H), float64.
        weight: Of each unit's error, (H,).
        count: How many to keep.

    Returns:
        Indices of the kept units, (count,), and the (H, count) matrix that rebuilds all of them.
    """
    gram = activations.T @ activations / len(activations)
    ridge = gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    residual, targets = gram + RIDGE * ridge, gram * weight
    chosen: list[int] = []
    for _ in range(count):
        gain = targets.square().sum(1) / residual.diagonal().clamp_min(1e-12)
        gain[chosen] = -1
        best = int(gain.argmax())
        chosen.append(best)
        column, row = residual[:, best].clone(), targets[best].clone()
        pivot = residual[best, best].clamp_min(1e-12)
        residual = residual - torch.outer(column, column) / pivot
        targets = targets - torch.outer(column, row) / pivot
    keep = torch.tensor(sorted(chosen), device=gram.device)
    inner = gram[keep][:, keep] + SHRINKAGE * ridge[keep][:, keep]
    rebuild = torch.linalg.solve(inner, gram[keep]).T
    rebuild[keep] = torch.eye(count).to(rebuild)
    return keep, rebuild
