"""A bijector of some channels alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from flowkd.bijectors.base import Bijector, Shape, State, Tap


class Leading(Bijector):
    """Applies a bijector to the leading channels; the others pass through.

    This is Glow's factor-out in a state that never changes size. Paths lead through it: what is
    inside is addressed as if Leading were not there.

    Args:
        bijector: Keeps the shape of what it maps.
        channels: Number of leading channels, of dimension 1, that it maps.
    """

    def __init__(self, bijector: Bijector, channels: int) -> None:
        super().__init__()
        self.bijector = bijector
        self.channels = channels

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, : self.channels], x[:, self.channels :]

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps the leading channels forward."""
        leading, rest = self._split(x)
        z, log_det = self.bijector(leading, context)
        return torch.cat([z, rest], dim=1), log_det

    def record(
        self, x: Tensor, context: Tensor | None, taps: Collection[str]
    ) -> tuple[Tensor, Tensor, dict[str, State]]:
        """Maps forward; recorded states are completed by the channels that pass through."""
        leading, rest = self._split(x)
        z, log_det, states = self.bijector.record(leading, context, taps)
        return torch.cat([z, rest], dim=1), log_det, _completed(states, rest)

    def record_inverse(
        self, z: Tensor, context: Tensor | None, taps: Collection[str]
    ) -> tuple[Tensor, Tensor, dict[str, State]]:
        """Maps back; recorded states are completed by the channels that pass through."""
        leading, rest = self._split(z)
        x, log_det, states = self.bijector.record_inverse(leading, context, taps)
        return torch.cat([x, rest], dim=1), log_det, _completed(states, rest)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps the leading channels back."""
        leading, rest = self._split(z)
        x, log_det = self.bijector.inverse(leading, context)
        return torch.cat([x, rest], dim=1), log_det

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initializes the inner bijector on the leading channels."""
        self.bijector.initialize(x[:, : self.channels], context)

    @property
    def retraceable(self) -> bool:
        """No: where channels part the state is kept, and a chain within retraces its own."""
        return False

    @property
    def initialized(self) -> bool:
        """Whether the inner bijector is."""
        return self.bijector.initialized

    def taps(self, shape: Shape) -> Iterator[tuple[str, Tap]]:
        """Yields the inner bijector's taps, at the shape of the complete state."""
        passing = shape[0] - self.channels
        for path, tap in self.bijector.taps((self.channels, *shape[1:])):
            yield path, replace(tap, shape=(tap.shape[0] + passing, *tap.shape[1:]))


def _completed(states: Mapping[str, State], rest: Tensor) -> dict[str, State]:
    """Returns states of leading channels with those that pass by."""
    return {
        tap: State(torch.cat([state.h, rest], dim=1), state.log_det)
        for tap, state in states.items()
    }
