"""A step taken apart: its affine map, then what has a network, or a linear map in its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowkd.bijectors import Bijector, Coupling
from flowkd.distillation.warmstart.affine import Affine
from flowkd.distillation.warmstart.batching import forward_by_rows

RunningState = tuple[Tensor, Tensor]  # h, and the log_det up to it


@dataclass(frozen=True)
class FittedStep:
    """What a step becomes."""

    affine: Affine
    mapped: Bijector
    linear: Affine | None = None

    def __call__(self, state: RunningState, context: Tensor | None) -> RunningState:
        """Maps (B, C, *rest) forward."""
        h, log_det = state
        h, log_det = self.affine(h), log_det + self.affine.log_det(h)
        if self.linear is not None:
            return self.linear(h), log_det + self.linear.log_det(h)
        y, more = forward_by_rows(self.mapped, h, context)
        return y, log_det + more

    def linearised(self, h: Tensor, y: Tensor) -> FittedStep:
        """Returns it with a linear map in place of the other, so that it is nearest to h -> y."""
        before = self.affine(h)
        if isinstance(self.mapped, Coupling):
            return replace(self, linear=Affine.fit(before, y, self.mapped.kept))
        return replace(self, linear=Affine.fit_in_order(before, y))


def settle(
    parts: Sequence[FittedStep], start: RunningState, context: Tensor | None
) -> tuple[list[FittedStep], list[RunningState]]:
    """Fits the linear maps anew, each on what the parts before it make of the data.

    Args:
        parts: Consecutive ones.
        start: Before the first.
        context: Encoded context of the calibration data, (B, width); None for none.

    Returns:
        The parts, and the states: before each, and after the last.
    """
    settled: list[FittedStep] = []
    states = [start]
    for part in parts:
        if part.linear is not None:
            y, _ = replace(part, linear=None)(states[-1], context)
            part = part.linearised(states[-1][0], y)
        settled.append(part)
        states.append(part(states[-1], context))
    return settled, states


@dataclass(frozen=True)
class FittedLevel:
    """Consecutive parts, on the leading channels that they see."""

    parts: Sequence[FittedStep]
    channels: int

    def __call__(self, h: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Maps the complete state forward, with log|det|."""
        state = h[:, : self.channels], h.new_zeros(len(h))
        for part in self.parts:
            state = part(state, context)
        return torch.cat([state[0], h[:, self.channels :]], dim=1), state[1]

    def settle(self, h: Tensor, context: Tensor | None) -> FittedLevel:
        """Fits the linear maps anew, on the complete states that the level meets."""
        start = h[:, : self.channels], h.new_zeros(len(h))
        return replace(self, parts=settle(self.parts, start, context)[0])
