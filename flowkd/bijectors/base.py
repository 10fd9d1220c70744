"""The one contract of every bijector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowkd.bijectors.reversible import Retraced

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tap:
    """A place whose state may be recorded: the state's event shape, and what precedes it.

    Attributes:
        shape: Event shape of the state there.
        channels: How many of its leading channels the bijector sees; the others pass by it.
        parameters: Number of parameters of the bijectors up to and including this one.
    """

    shape: Shape
    channels: int
    parameters: int


class State(NamedTuple):
    """What is recorded at a tap.

    Attributes:
        h: The complete state, (B, *event).
        log_det: log|det| of the bijectors up to and including the tap's, (B,).
    """

    h: Tensor
    log_det: Tensor


class Bijector(nn.Module, ABC):
    """An invertible map of (B, *event) whose log|det J| is known.

    Subclasses promise: `inverse` undoes `forward`; both return `(value, log_det)` with log_det
    of shape (B,), summed over the event; both are deterministic, treat each row of the batch by
    itself, are the same in train and eval mode, and never change their arguments. Shapes are
    checked by the flow at its door, not here.
    """

    @abstractmethod
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data x to z, with log|det dz/dx|, (B,)."""

    @abstractmethod
    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps z back to x, with log|det dx/dz|, (B,)."""

    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Sets parameters that depend on data, from one batch; most bijectors have none."""

    @property
    def initialized(self) -> bool:
        """Whether the parameters that depend on data have been set; True where there are none.

        A new run initializes whatever this says; a flow that is trained further, only where not.
        """
        return True

    @property
    def one_pass(self) -> tuple[bool, bool]:
        """Whether forward, and inverse, is one pass: not the same work again, column by column."""
        inner = [each.one_pass for each in self.children() if isinstance(each, Bijector)]
        return all(there for there, _ in inner), all(back for _, back in inner)

    @property
    def retraceable(self) -> bool:
        """Whether any x can be computed from its z, within rounding, as `retrace` does."""
        return True

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Bijector]]:
        """Yields what it is made of in turn, with the paths of what ends there: itself alone."""
        yield (), self

    def retrace(
        self, made: Tensor, context: Tensor | None = None, *, inverse: bool = False
    ) -> Retraced:
        """Computes what a step was given from what it made, and the step once more, with a graph.

        Args:
            made: What `forward` made, or `inverse`.
            context: What it was given then.
            inverse: Whether the step is `inverse`.
        """
        step, undo = (self.inverse, self.forward) if inverse else (self.forward, self.inverse)
        with torch.no_grad():
            given = undo(made, context)[0].detach()
        given.requires_grad_()
        again, log_det = step(given, context)
        return Retraced((given,), (again,), log_det)

    def output_shape(self, shape: Shape) -> Shape:
        """Returns the event shape of z for that of x."""
        return shape

    def record(
        self, x: Tensor, context: Tensor | None, taps: Collection[str]
    ) -> tuple[Tensor, Tensor, dict[str, State]]:
        """Maps forward and also returns the states after the inner bijectors named in taps."""
        return *self(x, context), {}

    def record_inverse(
        self, z: Tensor, context: Tensor | None, taps: Collection[str]
    ) -> tuple[Tensor, Tensor, dict[str, State]]:
        """Maps back and also returns the states before the inverses of those named in taps.

        Where `record` names a state, so does this; its log_det is that of the inverses before it.
        """
        return *self.inverse(z, context), {}

    def taps(self, shape: Shape) -> Iterator[tuple[str, Tap]]:
        """Yields the path of each inner bijector, in the order of forward."""
        return iter(())
