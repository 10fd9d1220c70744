"""A flow, level by level: its steps, and what stands between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from flowkd.bijectors import Autoregressive, Bijector, Chain, Coupling, Inverted, Leading
from flowkd.distillation.warmstart.batching import forward_by_rows
from flowkd.flows.family import group_bounds
from flowkd.flows.flow import Flow
from flowkd.nn import Conditioner


@dataclass(frozen=True)
class Unit:
    """A step, or any other bijector of the chain, on the leading channels that it sees."""

    path: str
    bijector: Bijector
    channels: int

    @property
    def is_step(self) -> bool:
        """Whether it is an actnorm, a mix, and a coupling or masked map."""
        return isinstance(self.bijector, Chain)

    @property
    def step(self) -> Chain:
        """The actnorm, the mix, and what has a network."""
        assert isinstance(self.bijector, Chain)
        return self.bijector

    @property
    def mapped(self) -> Bijector:
        """What of the step has a network: the last of it."""
        return mapped(self.step)

    @property
    def conditioner(self) -> Conditioner:
        """The network."""
        inner = self.mapped.bijector if isinstance(self.mapped, Inverted) else self.mapped
        assert isinstance(inner, Coupling | Autoregressive)
        return inner.conditioner

    def seen(self, before: Tensor, after: Tensor) -> Tensor:
        """Returns what the network sees, of what goes into the map and what comes out of it."""
        if isinstance(self.mapped, Coupling):
            return before[:, : self.mapped.kept]
        return after if isinstance(self.mapped, Inverted) else before

    def __call__(self, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps the complete state forward, some rows at a time."""
        z, log_det = forward_by_rows(self.bijector, h[:, : self.channels], context)
        if self.channels == h.shape[1]:
            return z, log_det
        return torch.cat([z, h[:, self.channels :]], dim=1), log_det


def mapped(step: Chain) -> Bijector:
    """Returns what of a step has a network."""
    *_, (_, last) = step.items()
    return last


def blocks(flow: Flow) -> Iterator[list[Unit]]:
    """Yields a flow's bijectors in the order of forward: a level's steps, what follows, and on."""
    for _, units in groupby(_walk(flow), key=lambda unit: unit.is_step):
        yield list(units)


def matched(student: Flow, source: Flow) -> Iterator[tuple[Unit, list[Unit]]]:
    """Yields each of a student's units with the source's that it stands for.

    The steps of each level are grouped evenly, in order; everything else stands for itself.
    """
    for ours, theirs in zip(blocks(student), blocks(source), strict=True):
        bounds = group_bounds(len(ours), len(theirs))
        for unit, (start, stop) in zip(ours, bounds, strict=True):
            yield unit, theirs[start:stop]


def _walk(flow: Flow) -> Iterator[Unit]:
    shape = flow.event_shape
    for name, bijector in flow.chain.items():
        channels = shape[0]
        if isinstance(bijector, Leading):
            channels, bijector = bijector.channels, bijector.bijector
        if isinstance(bijector, Chain) and name.startswith("level"):
            for path, part in bijector.items():
                yield Unit(f"{name}.{path}", part, channels)
        else:
            yield Unit(name, bijector, channels)
        if channels == shape[0]:
            shape = bijector.output_shape(shape)
