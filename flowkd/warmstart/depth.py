"""Fewer steps: a coupling that goes becomes its best linear fit, merged into the next step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from flowkd.bijectors import ActNorm, AffineCoupling, Bijector, Chain, Invertible1x1, Leading
from flowkd.flow import Flow, standard_normal_log_prob

RIDGE = 1e-6
SCORING_ROWS = 256


@dataclass(frozen=True)
class Unit:
    """A step, or any other bijector of the chain, on the leading channels that it sees."""

    path: str
    bijector: Bijector
    channels: int

    @property
    def is_step(self) -> bool:
        """Whether it is an actnorm, a mix and a coupling."""
        return isinstance(self.bijector, Chain)

    def __call__(self, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps the complete state forward."""
        if self.channels == h.shape[1]:
            return self.bijector(h, context)
        z, log_det = self.bijector(h[:, : self.channels], context)
        return torch.cat([z, h[:, self.channels :]], dim=1), log_det


def walk(flow: Flow) -> list[Unit]:
    """Returns a flow's bijectors in the order of forward, levels taken apart."""
    units = []
    shape = flow.event_shape
    for name, bijector in flow.chain.items():
        channels = shape[0]
        if isinstance(bijector, Leading):
            channels, bijector = bijector.channels, bijector.bijector
        if isinstance(bijector, Chain) and name.startswith("level"):
            units += [Unit(f"{name}.{path}", part, channels) for path, part in bijector.items()]
        else:
            units.append(Unit(name, bijector, channels))
        if channels == shape[0]:
            shape = bijector.output_shape(shape)
    return units


@dataclass(frozen=True)
class Affine:
    """h -> matrix h + shift over the channels, in float64."""

    matrix: Tensor
    shift: Tensor

    @classmethod
    def identity(cls, channels: int) -> Affine:
        """Returns h -> h."""
        return cls(torch.eye(channels).double(), torch.zeros(channels).double())

    @classmethod
    def of(cls, step: Chain) -> Affine:
        """Returns what a step does before its coupling."""
        actnorm, mix = step["actnorm"], step["mix"]
        assert isinstance(actnorm, ActNorm)
        assert isinstance(mix, Invertible1x1)
        weight, scale = mix.weight().double().cpu(), actnorm.log_scale.double().exp().cpu()
        return cls(weight * scale, weight @ (scale * actnorm.bias.double().cpu()))

    def after(self, first: Affine) -> Affine:
        """Returns the map that applies `first`, then this."""
        return Affine(self.matrix @ first.matrix, self.matrix @ first.shift + self.shift)

    def __call__(self, h: Tensor) -> Tensor:
        """Maps (B, C, *rest)."""
        mixed = torch.einsum("oc,nc...->no...", self.matrix.to(h), h)
        return mixed + self.shift.to(h).view(-1, *[1] * (h.dim() - 2))

    def log_det(self, h: Tensor) -> float:
        """Returns log|det| over all places of h."""
        return h[0, 0].numel() * torch.linalg.slogdet(self.matrix)[1].item()

    def write(self, step: Chain) -> None:
        """Makes this what a step does before its coupling."""
        actnorm, mix = step["actnorm"], step["mix"]
        assert isinstance(actnorm, ActNorm)
        assert isinstance(mix, Invertible1x1)
        mix.set_weight(self.matrix)
        actnorm.log_scale.zero_()
        actnorm.bias.copy_(torch.linalg.solve(self.matrix, self.shift))


def fold_depth(teacher: Flow, shallow: Flow, x: Tensor, context: Tensor | None) -> None:
    """Fills a flow of fewer steps, level by level."""
    units = walk(teacher)
    target = {unit.path: unit.bijector for unit in walk(shallow)}
    h, done = x, 0
    for is_step, group in groupby(units, key=lambda unit: unit.is_step):
        members = list(group)
        done += len(members)
        if not is_step:
            for unit in members:
                h, _ = unit(h, context)
                if unit.path in target:
                    target[unit.path].load_state_dict(unit.bijector.state_dict())
            continue
        steps = [unit.bijector for unit in members if isinstance(unit.bijector, Chain)]
        wanted = [path for path, part in target.items() if path in {unit.path for unit in members}]
        level = _Level(steps, members[0].channels, units[done:])
        keep = level.choose(len(wanted), h[:SCORING_ROWS], _first(context))
        h, _, merged = level.run(keep, h, context)
        for path, (affine, coupling) in zip(wanted, merged, strict=True):
            step = target[path]
            assert isinstance(step, Chain)
            affine.write(step)
            step["coupling"].load_state_dict(coupling.state_dict())


@dataclass(frozen=True)
class _Level:
    """Consecutive steps on the same channels, and all that comes after them."""

    steps: Sequence[Chain]
    channels: int
    after: Sequence[Unit]

    def choose(self, count: int, h: Tensor, context: Tensor | None) -> list[bool]:
        """Returns which couplings stay: greedily, those go that cost the least likelihood."""
        keep = [True] * len(self.steps)
        while sum(keep) > count:
            # The last coupling stays: nothing after it could take up a linear fit.
            candidates = [i for i in range(len(keep) - 1) if keep[i]]
            without = {i: [k and j != i for j, k in enumerate(keep)] for i in candidates}
            keep = max(without.values(), key=lambda kept: self.likelihood(kept, h, context))
        return keep

    def likelihood(self, keep: Sequence[bool], h: Tensor, context: Tensor | None) -> float:
        """Returns the mean log-density, but for what precedes the level."""
        h, log_det, _ = self.run(keep, h, context)
        for unit in self.after:
            h, more = unit(h, context)
            log_det = log_det + more
        return (standard_normal_log_prob(h) + log_det).mean().item()

    def run(
        self, keep: Sequence[bool], h: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Tensor, list[tuple[Affine, Bijector]]]:
        """Runs the steps, those that go replaced by linear fits that merge into the next."""
        h, rest = h[:, : self.channels], h[:, self.channels :]
        pending = Affine.identity(self.channels)
        log_det = h.new_zeros(len(h))
        merged: list[tuple[Affine, Bijector]] = []
        for step, kept in zip(self.steps, keep, strict=True):
            affine = Affine.of(step)
            h = affine(h)
            affine = affine.after(pending)
            coupling = step["coupling"]
            assert isinstance(coupling, AffineCoupling)
            y, more = coupling(h, context)
            if kept:
                log_det = log_det + more + affine.log_det(h)
                merged.append((affine, coupling))
                h, pending = y, Affine.identity(self.channels)
            else:
                linear = _linear_fit(h, y, coupling.kept)
                h, pending = linear(h), linear.after(affine)
        return torch.cat([h, rest], dim=1), log_det, merged


def _first(context: Tensor | None) -> Tensor | None:
    return None if context is None else context[:SCORING_ROWS]


def _linear_fit(h: Tensor, y: Tensor, kept: int) -> Affine:
    """Returns the affine map nearest to h -> y in least squares, the identity on the kept."""
    inputs, outputs = flat(h), flat(y)[:, kept:]
    inputs = torch.cat([inputs, inputs.new_ones(len(inputs), 1)], dim=1)
    gram = inputs.T @ inputs / len(inputs) + RIDGE * torch.eye(inputs.shape[1]).to(inputs)
    weight = torch.linalg.solve(gram, inputs.T @ outputs / len(inputs)).T.cpu()
    fit = Affine.identity(h.shape[1])
    fit.matrix[kept:], fit.shift[kept:] = weight[:, :-1], weight[:, -1]
    return fit


def flat(h: Tensor) -> Tensor:
    """Returns (B, C, *rest) as (B * places, C), float64."""
    return h.movedim(1, -1).reshape(-1, h.shape[1]).double()
