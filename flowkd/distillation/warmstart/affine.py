"""Affine maps of the channels: what a step does before its coupling, and the best linear fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from flowkd.bijectors import ActNorm, Chain, LinearMap
from flowkd.distillation.warmstart.batching import flat, places

RIDGE = 1e-6


@dataclass(frozen=True)
class Affine:
    """h -> matrix h + shift over the channels, in float64 on the CPU."""

    matrix: Tensor
    shift: Tensor

    @classmethod
    def identity(cls, channels: int) -> Affine:
        """Returns h -> h."""
        return cls(torch.eye(channels).double(), torch.zeros(channels).double())

    @classmethod
    def of(cls, step: Chain) -> Affine:
        """Returns what a step does before its coupling."""
        actnorm, mix = _linear_part(step)
        scale = actnorm.log_scale.double().exp().cpu()
        weight = mix.weight().double().cpu()
        return cls(weight * scale, weight @ (scale * actnorm.bias.double().cpu()))

    @classmethod
    def of_all(cls, steps: Sequence[Chain]) -> Affine:
        """Returns what consecutive steps do whose couplings are the identity."""
        first, *others = [cls.of(step) for step in steps]
        for affine in others:
            first = affine.after(first)
        return first

    @classmethod
    def fit(cls, h: Tensor, y: Tensor, kept: int) -> Affine:
        """Returns the map nearest to h -> y in least squares, the identity on the first `kept`."""
        inputs, outputs = flat(h).double(), flat(y)[:, kept:].double()
        inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
        gram = inputs.T @ inputs / len(inputs) + RIDGE * torch.eye(inputs.shape[1]).to(inputs)
        weight = torch.linalg.solve(gram, inputs.T @ outputs / len(inputs)).T.cpu()
        fit = cls.identity(h.shape[1])
        fit.matrix[kept:], fit.shift[kept:] = weight[:, :-1], weight[:, -1]
        return fit

    @classmethod
    def fit_in_order(cls, h: Tensor, y: Tensor) -> Affine:
        """Returns the map nearest to h -> y that makes of each column no use of those after it."""
        inputs, outputs = flat(h).double(), flat(y).double()
        inputs = torch.cat([inputs.new_ones(len(inputs), 1), inputs], dim=1)
        gram = inputs.T @ inputs / len(inputs) + RIDGE * torch.eye(inputs.shape[1]).to(inputs)
        target = inputs.T @ outputs / len(inputs)
        fit = cls.identity(h.shape[1])
        for column in range(h.shape[1]):
            seen = slice(column + 2)
            weight = torch.linalg.solve(gram[seen, seen], target[seen, column]).cpu()
            fit.shift[column], fit.matrix[column, : column + 1] = weight[0], weight[1:]
        return fit

    def of_reordered(self, order: Tensor) -> Affine:
        """Returns this map of channels in an order, h[:, order], as one of the channels as such."""
        back = order.argsort()
        return Affine(self.matrix[back][:, back], self.shift[back])

    def after(self, first: Affine) -> Affine:
        """Returns the map that applies `first`, then this."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)

    def __call__(self, h: Tensor) -> Tensor:
        """Maps (B, C, *rest)."""
        mixed = torch.einsum("oc,nc...->no...", self.matrix.to(h), h)
        return mixed + self.shift.to(h).view(-1, *[1] * (h.dim() - 2))

    def log_det(self, h: Tensor) -> float:
        """Returns log|det| over all places of h."""
        return places(h) * torch.linalg.slogdet(self.matrix)[1].item()

    def write(self, step: Chain) -> None:
        """Makes this what a step does before its coupling.

        A mix that is a fixed permutation must already be this map's, but for positive scales.
        """
        actnorm, mix = _linear_part(step)
        actnorm.log_scale.copy_(mix.absorb(self.matrix))
        actnorm.bias.copy_(torch.linalg.solve(self.matrix, self.shift))


def _linear_part(step: Chain) -> tuple[ActNorm, LinearMap]:
    actnorm, mix = step["actnorm"], step["mix"]
    assert isinstance(actnorm, ActNorm)
    assert isinstance(mix, LinearMap)
    return actnorm, mix
