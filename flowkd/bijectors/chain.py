"""Bijectors one after another."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from flowkd.bijectors.base import Bijector, Shape, State, Tap
from flowkd.bijectors.elementwise import ActNorm
from flowkd.bijectors.joined import LogDet, Pair, channel_maps
from flowkd.bijectors.leading import Leading
from flowkd.bijectors.linear import Invertible1x1
from flowkd.bijectors.reversible import apply_reversibly, runs

Names = tuple[str, ...]


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
        total = LogDet(x)
        states: dict[str, State] = {}
        plan = self._plan(taps)
        maps = iter(channel_maps([part for _, part in plan if isinstance(part, Pair)]))
        for names, part in plan:
            before = total.value() if taps else x
            inside: dict[str, State] = {}
            if isinstance(part, Pair):
                used = next(maps)
                if names[0] in taps:
                    inside = {"": State(*part.norm(x))}
                x = used(x)
                total.add_map(used, x)
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

    def _plan(self, taps: Collection[str]) -> list[tuple[Names, list[Bijector] | Pair | Bijector]]:
        """Returns what is applied in turn, with the paths of what ends there.

        Of a pair the first path is that of its ActNorm.
        """
        if self.reversible and torch.is_grad_enabled():
            return list(runs(self.leaves(), taps))
        plan: list[tuple[Names, list[Bijector] | Pair | Bijector]] = []
        for names, bijector in self.leaves():
            paths, before = plan[-1] if plan else ((), None)
            # Where an inner chain ends with the ActNorm, two states would be asked for there.
            alone = len(paths) == 1
            if alone and isinstance(before, ActNorm) and isinstance(bijector, Invertible1x1):
                plan[-1] = (paths + names, Pair(before, bijector))
            else:
                plan.append((names, bijector))
        return plan

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
        reversible = self.reversible and torch.is_grad_enabled()
        each = (((name,), bijector) for name, bijector in self.items())
        parts = runs(self.leaves(), taps) if reversible else each
        for names, bijector in reversed(list(parts)):
            states |= {name: State(z, log_det) for name in names if name in taps}
            inside: dict[str, State] = {}
            if isinstance(bijector, list):
                z, part = apply_reversibly(bijector[::-1], z, context, inverse=True)
            else:
                z, part, inside = bijector.record_inverse(z, context, _within(names[0], taps))
            for tap, state in inside.items():
                states[f"{names[0]}.{tap}"] = State(state.h, log_det + state.log_det)
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


def _within(name: str, taps: Collection[str]) -> list[str]:
    """Returns the taps within a bijector, as it calls them itself."""
    return [tap.removeprefix(f"{name}.") for tap in taps if tap.startswith(f"{name}.")]
