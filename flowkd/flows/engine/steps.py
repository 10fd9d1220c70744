"""How a flow is put together of pieces: modules that a graph holds once for all that are alike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Parts = list[Tensor]
# Computes a module of values: at once, or later in a graph. It returns a tuple.
Call = Callable[..., Any]


class Step(nn.Module, ABC):
    """A bijector whose log_det is a number that holds for every row, and parts that do not.

    Attributes:
        constant: That number.
    """

    constant = 0.0

    @abstractmethod
    def to_latents(self, call: Call, x: Tensor, context: Tensor | None) -> tuple[Tensor, Parts]:
        """Maps x to z, with the parts of its log_det, (B, 1) each."""

    @abstractmethod
    def to_data(self, call: Call, z: Tensor, context: Tensor | None) -> Tensor:
        """Maps z to x."""


class Piece(Step):
    """A step that is one module in each direction."""

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Parts]:
        """Maps x to z, with the parts of its log_det, (B, 1) each."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor | None) -> Tensor:
        """Maps z to x."""

    def to_latents(self, call: Call, x: Tensor, context: Tensor | None) -> tuple[Tensor, Parts]:
        """Maps x to z."""
        z, *parts = call(ToLatents(self), x, context)
        return z, parts

    def to_data(self, call: Call, z: Tensor, context: Tensor | None) -> Tensor:
        """Maps z to x."""
        (x,) = call(ToData(self), z, context)
        return x


class ToLatents(nn.Module):
    """A piece from x to z, and the parts of its log_det.

    Args:
        piece: Of a flow.
    """

    def __init__(self, piece: Piece) -> None:
        super().__init__()
        self.piece = piece

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """Maps x to z."""
        z, parts = self.piece(x, context)
        return z, *parts


class ToData(nn.Module):
    """A piece from z to x.

    Args:
        piece: Of a flow.
    """

    def __init__(self, piece: Piece) -> None:
        super().__init__()
        self.piece = piece

    def forward(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor]:
        """Maps z to x."""
        return (self.piece.inverse(z, context),)


class Cut(nn.Module):
    """The leading channels of a state, and the others.

    Args:
        channels: How many lead.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Splits (B, C, *rest)."""
        return x[:, : self.channels], x[:, self.channels :]


class Joined(nn.Module):
    """Channels one after the other."""

    def forward(self, *parts: Tensor) -> tuple[Tensor]:
        """Joins tensors (B, C, *rest)."""
        return (torch.cat(parts, dim=1),)


class Partial(Step):
    """A step on the leading channels.

    Args:
        step: Keeps the shape of what it maps.
        channels: How many.
    """

    def __init__(self, step: Step, channels: int) -> None:
        super().__init__()
        self.step, self.channels, self.constant = step, channels, step.constant

    def to_latents(self, call: Call, x: Tensor, context: Tensor | None) -> tuple[Tensor, Parts]:
        """Maps x to z."""
        leading, rest = call(Cut(self.channels), x)
        leading, parts = self.step.to_latents(call, leading, context)
        (z,) = call(Joined(), leading, rest)
        return z, parts

    def to_data(self, call: Call, z: Tensor, context: Tensor | None) -> Tensor:
        """Maps z to x."""
        leading, rest = call(Cut(self.channels), z)
        (x,) = call(Joined(), self.step.to_data(call, leading, context), rest)
        return x


class Steps(Step):
    """Steps one after the other.

    Args:
        steps: The first nearest to the data.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.constant = sum(step.constant for step in steps)

    def to_latents(self, call: Call, x: Tensor, context: Tensor | None) -> tuple[Tensor, Parts]:
        """Maps x to z."""
        parts: Parts = []
        for step in self.steps:
            assert isinstance(step, Step)
            x, more = step.to_latents(call, x, context)
            parts += more
        return x, parts

    def to_data(self, call: Call, z: Tensor, context: Tensor | None) -> Tensor:
        """Maps z to x."""
        for step in reversed(self.steps):
            assert isinstance(step, Step)
            z = step.to_data(call, z, context)
        return z
