"""The one contract of every bijector, and the two ways to compose them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flowkd.bijectors.reversible import Retraced, apply_reversibly, runs

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


class Chain(Bijector):
    """Applies named bijectors in order; inner ones are addressed by dotted paths.

    Args:
        bijectors: Name to bijector, the first nearest to the data.

    Attributes:
        reversible: Whether gradients are computed without activations that are kept since the
            forward pass, from its result (`flowkd.bijectors.reversible`).
    """

    def __init__(self, bijectors: Mapping[str, Bijector]) -> None:
        super().__init__()
        self.reversible = False
        if not bijectors:
            raise ValueError("expected at least one bijector in a Chain; got none")
        for name, bijector in bijectors.items():
            self.add_module(name, bijector)

    def items(self) -> Iterator[tuple[str, Bijector]]:
        """Yields (name, bijector) in the order of forward."""
        for name, module in self._modules.items():
            assert isinstance(module, Bijector)
            yield name, module

    def __getitem__(self, path: str) -> Bijector:
        """Returns the inner bijector at a dotted path, through any Leading on the way."""
        found: Bijector = self
        for name in path.split("."):
            while isinstance(found, Leading):
                found = found.bijector
            child = found._modules.get(name) if isinstance(found, Chain) else None
            if not isinstance(child, Bijector):
                raise KeyError(f"no bijector {name!r} on the path {path!r}")
            found = child
        return found

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Applies each bijector in turn and sums their log_dets."""
        z, log_det, _ = self.record(x, context, ())
        return z, log_det

    def record(
        self, x: Tensor, context: Tensor | None, taps: Collection[str]
    ) -> tuple[Tensor, Tensor, dict[str, State]]:
        """Maps forward and also returns the states after the inner bijectors named in taps."""
        log_det = x.new_zeros(x.shape[0])
        states: dict[str, State] = {}
        for names, bijector in self._parts(taps):
            inside: dict[str, State] = {}
            if isinstance(bijector, list):
                x, part = apply_reversibly(bijector, x, context)
            else:
                x, part, inside = bijector.record(x, context, _within(names[0], taps))
            states |= _outward(names[0], inside, log_det)
            log_det = log_det + part
            for name in names:
                if name in taps:
                    states[name] = State(x, log_det)
        return x, log_det, states

    def _parts(
        self, taps: Collection[str] = ()
    ) -> Iterator[tuple[tuple[str, ...], list[Bijector] | Bijector]]:
        """Yields what is applied in turn, with the paths of what ends there."""
        if self.reversible and torch.is_grad_enabled():
            yield from runs(self.leaves(), taps)
        else:
            yield from (((name,), bijector) for name, bijector in self.items())

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Bijector]]:
        """Yields the bijectors that are no chains, with the paths of what ends with each."""
        for name, bijector in self.items():
            *before, (paths, last) = bijector.leaves()
            for inner, leaf in before:
                yield tuple(f"{name}.{path}" for path in inner), leaf
            yield (*(f"{name}.{path}" for path in paths), name), last

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes each bijector, last first, and sums their log_dets."""
        z, log_det, _ = self.record_inverse(z, context, ())
        return z, log_det

    def record_inverse(
        self, z: Tensor, context: Tensor | None, taps: Collection[str]
    ) -> tuple[Tensor, Tensor, dict[str, State]]:
        """Maps back and also returns the states before the inverses of those named in taps."""
        log_det = z.new_zeros(z.shape[0])
        states: dict[str, State] = {}
        for names, bijector in reversed(list(self._parts(taps))):
            states |= {name: State(z, log_det) for name in names if name in taps}
            inside: dict[str, State] = {}
            if isinstance(bijector, list):
                z, part = apply_reversibly(bijector[::-1], z, context, inverse=True)
            else:
                z, part, inside = bijector.record_inverse(z, context, _within(names[0], taps))
            states |= _outward(names[0], inside, log_det)
            log_det = log_det + part
        return z, log_det, states

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Initializes each bijector on what the ones before it make of x."""
        for _, bijector in self.items():
            bijector.initialize(x, context)
            x, _ = bijector(x, context)

    @property
    def retraceable(self) -> bool:
        """Whether each bijector is."""
        return all(bijector.retraceable for _, bijector in self.items())

    @property
    def initialized(self) -> bool:
        """Whether each bijector is."""
        return all(bijector.initialized for _, bijector in self.items())

    def output_shape(self, shape: Shape) -> Shape:
        """Returns the event shape after the last bijector."""
        for _, bijector in self.items():
            shape = bijector.output_shape(shape)
        return shape

    def taps(self, shape: Shape) -> Iterator[tuple[str, Tap]]:
        """Yields the path of each inner bijector, in the order of forward."""
        before = 0
        for name, bijector in self.items():
            for path, tap in bijector.taps(shape):
                yield f"{name}.{path}", replace(tap, parameters=before + tap.parameters)
            shape = bijector.output_shape(shape)
            before += sum(parameter.numel() for parameter in bijector.parameters())
            channels = bijector.channels if isinstance(bijector, Leading) else shape[0]
            yield name, Tap(shape, channels, before)


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


def _within(name: str, taps: Collection[str]) -> list[str]:
    """Returns the paths of those taps that are inside of a bijector, from there."""
    return [tap.removeprefix(f"{name}.") for tap in taps if tap.startswith(f"{name}.")]


def _outward(name: str, inside: Mapping[str, State], log_det: Tensor) -> dict[str, State]:
    """Returns the states inside of a bijector as its chain names and measures them."""
    return {
        f"{name}.{tap}": State(state.h, log_det + state.log_det) for tap, state in inside.items()
    }


def _completed(states: Mapping[str, State], rest: Tensor) -> dict[str, State]:
    """Returns states of leading channels with those that pass by."""
    return {
        tap: State(torch.cat([state.h, rest], dim=1), state.log_det)
        for tap, state in states.items()
    }
