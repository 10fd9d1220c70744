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

    @classmethod
    def match(cls, h: Tensor, y: Tensor, kept: int) -> Affine:
        """Returns the map of the means and covariances of y that is nearest to h -> y.

        What `fit` makes is too near to its mean where h -> y is far from linear. The identity on
        the first `kept`.
        """
        inputs, outputs = flat(h).double(), flat(y)[:, kept:].double()
        matched = cls.identity(h.shape[1])
        matched.matrix[kept:], matched.shift[kept:] = _matched(inputs, outputs, kept)
        return matched

    @classmethod
    def match_in_order(cls, h: Tensor, y: Tensor) -> Affine:
        """Returns the map to the means and covariances of y that makes of each column no use of
        those after it, and whose slopes are positive: there is one.
        """
        inputs, outputs = flat(h).double(), flat(y).double()
        means, wanted = inputs.mean(0), outputs.mean(0)
        here, there = _root(inputs - means), _root(outputs - wanted)
        matrix = (there @ here.inverse()).tril()
        return cls(matrix.cpu(), (wanted - matrix @ means).cpu())

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


def _matched(inputs: Tensor, outputs: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Returns the matrix and the shift that make outputs of inputs, the first `kept` and as many.

    What is left of both after a regression on the first is mapped by that rotation between their
    whitened values which is nearest: orthogonal Procrustes.
    """
    means, wanted = inputs.mean(0), outputs.mean(0)
    known, rest = (inputs - means).tensor_split([kept], dim=1)
    of_rest, of_outputs = (_regression(known, each) for each in (rest, outputs - wanted))
    rest, left = rest - known @ of_rest.T, outputs - wanted - known @ of_outputs.T
    here, there = _root(rest), _root(left)
    correlations = torch.linalg.solve(here, rest.T @ left / len(rest)) @ there.inverse().T
    first, _, second = torch.linalg.svd(correlations)
    turned = there @ (first @ second).T @ here.inverse()
    matrix = torch.cat([of_outputs - turned @ of_rest, turned], dim=1)
    return matrix.cpu(), (wanted - matrix @ means).cpu()


def _regression(inputs: Tensor, outputs: Tensor) -> Tensor:
    """Returns the (O, I) matrix of least squares, of values whose means are 0."""
    gram = inputs.T @ inputs / len(inputs) + RIDGE * torch.eye(inputs.shape[1]).to(inputs)
    return torch.linalg.solve(gram, inputs.T @ outputs / len(inputs)).T


def _root(values: Tensor) -> Tensor:
    """Returns the Cholesky factor of the covariances of values whose means are 0."""
    covariances = values.T @ values / len(values)
    return torch.linalg.cholesky(covariances + RIDGE * torch.eye(len(covariances)).to(values))


def _linear_part(step: Chain) -> tuple[ActNorm, LinearMap]:
    actnorm, mix = step["actnorm"], step["mix"]
    assert isinstance(actnorm, ActNorm)
    assert isinstance(mix, LinearMap)
    return actnorm, mix
