"""Bijectors one after another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from flowkd.bijectors.base import Bijector, Shape, State, Tap
from flowkd.bijectors.dense_steps import apply_densely, undo_densely
from flowkd.bijectors.joined import ChannelMap, LogDet, Pair, channel_maps
from flowkd.bijectors.leading import Leading
from flowkd.bijectors.plan import DenseRun, Names, Part, joined
from flowkd.bijectors.reversible import apply_reversibly, runs


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
        yield from self._modules.items()  # type: ignore[misc]  # each is a Bijector

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
        total = LogDet(x)
        states: dict[str, State] = {}
        plan = self._plan(x, taps)
        maps = iter(channel_maps([pair for _, part in plan for pair in _pairs(part)]))
        for names, part in plan:
            before = total.value() if taps else x
            inside: dict[str, State] = {}
            if isinstance(part, Pair):
                used = next(maps)
                if names[0] in taps:
                    inside = {"": State(*part.norm(x))}
                x = used(x)
                total.add_map(used, x)
            elif isinstance(part, DenseRun):
                steps = part.with_maps(maps)
                x, log_dets = apply_densely(steps, x, context)
                total.add_steps(log_dets, part.norms)
                for step in steps:
                    if isinstance(step.before, ChannelMap):
                        total.add_map(step.before, x)
            elif isinstance(part, list):
                x, log_det = apply_reversibly(part, x, context)
                total.add(log_det)
            else:
                x, log_det, inside = part.record(x, context, _within(names[0], taps))
                total.add(log_det)
            for tap, state in inside.items():
                path = f"{names[0]}.{tap}" if tap else names[0]
                states[path] = State(state.h, before + state.log_det)
            for name in names[isinstance(part, Pair) :]:
                if name in taps:
                    states[name] = State(x, total.value())
        return x, total.value(), states

    def _plan(
        self, x: Tensor, taps: Collection[str]
    ) -> Sequence[tuple[Names, list[Bijector] | Part]]:
        """Returns what is applied in turn, with the paths of what ends there."""
        if self.reversible and torch.is_grad_enabled():
            return list(runs(self.leaves(), taps))
        return joined(self.leaves(), x, taps)

    def leaves(self) -> Iterator[tuple[tuple[str, ...], Bijector]]:
        """Yields the bijectors that are no chains, with the paths of what ends with each."""
        for name, bijector in self.items():
            leaves = list(bijector.leaves())
            for inner, leaf in leaves[:-1]:
                yield tuple([f"{name}.{path}" for path in inner]), leaf
            paths, last = leaves[-1]
            yield (*[f"{name}.{path}" for path in paths], name) if paths else (name,), last

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes each bijector, last first, and sums their log_dets."""
        z, log_det, _ = self.record_inverse(z, context, ())
        return z, log_det

    def record_inverse(
        self, z: Tensor, context: Tensor | None, taps: Collection[str]
    ) -> tuple[Tensor, Tensor, dict[str, State]]:
        """Maps back and also returns the states before the inverses of those named in taps."""
        total = LogDet(z, inverse=True)
        states: dict[str, State] = {}
        for names, part in reversed(self._plan_back(z, taps)):
            before = total.value() if taps else z
            states |= {name: State(z, before) for name in names if name in taps}
            inside: dict[str, State] = {}
            if isinstance(part, DenseRun):
                z, log_dets = undo_densely(part.with_maps(iter(())), z, context)
                total.add_steps(log_dets, part.norms)
                continue
            if isinstance(part, list):
                z, log_det = apply_reversibly(part[::-1], z, context, inverse=True)
            else:
                assert isinstance(part, Bijector)
                z, log_det, inside = part.record_inverse(z, context, _within(names[0], taps))
            total.add(log_det)
            for tap, state in inside.items():
                states[f"{names[0]}.{tap}"] = State(state.h, before + state.log_det)
        return z, total.value(), states

    def _plan_back(
        self, z: Tensor, taps: Collection[str]
    ) -> Sequence[tuple[Names, list[Bijector] | Part]]:
        """Returns what is undone, the last first, with the paths of what ends there."""
        if self.reversible and torch.is_grad_enabled():
            return list(runs(self.leaves(), taps))
        if z.dim() == 2:
            return joined(self.leaves(), z, taps, inverse=True)
        return [((name,), bijector) for name, bijector in self.items()]

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


def _pairs(part: list[Bijector] | Part) -> list[Pair]:
    """Returns the pairs of a part, in turn."""
    if isinstance(part, DenseRun):
        return [before for before, _ in part.steps if isinstance(before, Pair)]
    return [part] if isinstance(part, Pair) else []


def _within(name: str, taps: Collection[str]) -> list[str]:
    """Returns the taps within a bijector, as it calls them itself."""
    return [tap.removeprefix(f"{name}.") for tap in taps if tap.startswith(f"{name}.")]
