"""What a chain applies in turn: its bijectors, those joined that are computed faster together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from flowkd.bijectors.affine import is_transformed
from flowkd.bijectors.autoregressive import Autoregressive, Inverted
from flowkd.bijectors.base import Bijector
from flowkd.bijectors.coupling import Coupling
from flowkd.bijectors.dense_steps import Dense, DenseStep, as_dense
from flowkd.bijectors.elementwise import ActNorm
from flowkd.bijectors.joined import ChannelMap, Pair
from flowkd.bijectors.linear import Invertible1x1
from flowkd.bijectors.reshape import Permute

Names = tuple[str, ...]


AFFINE = (Coupling, Autoregressive, Inverted)

# What is before a map in a run: a pair, or an ActNorm and a new order of the columns.
Before = Pair | tuple[ActNorm, Permute] | None


class DenseRun(NamedTuple):
    """Affine maps by dense networks that are applied together, each with what is before it."""

    steps: list[tuple[Before, Dense]]

    @property
    def norms(self) -> list[ActNorm]:
        """The ActNorms that no pair holds."""
        return [before[0] for before, _ in self.steps if type(before) is tuple]

    def with_maps(self, maps: Iterator[ChannelMap]) -> list[DenseStep]:
        """Returns the steps, each pair as the next of the maps."""
        return [
            DenseStep(next(maps) if isinstance(before, Pair) else before, dense)
            for before, dense in self.steps
        ]


Part = Bijector | Pair | DenseRun


def joined(
    leaves: Iterable[tuple[Names, Bijector]],
    x: Tensor,
    taps: Collection[str],
    *,
    inverse: bool = False,
) -> list[tuple[Names, Part]]:
    """Returns what is applied in turn, with the paths of what ends there.

    Of a pair the first path is that of its ActNorm; of a run, the paths are those of its last step.

    Args:
        leaves: As `Bijector.leaves` yields them.
        x: What the first is given.
        taps: Paths whose states are recorded: there a run ends.
        inverse: Whether they are undone, the last first: then there are no pairs.
    """
    parts = list(leaves) if inverse else _pairs(leaves)
    dense = x.dim() == 2 and not is_transformed() and not torch.is_autocast_enabled(x.device.type)
    return list(_runs(parts, taps, inverse)) if dense else list(parts)


def _pairs(leaves: Iterable[tuple[Names, Bijector]]) -> list[tuple[Names, Part]]:
    parts: list[tuple[Names, Part]] = []
    for names, bijector in leaves:
        paths, before = parts[-1] if parts else ((), None)
        # Where an inner chain ends with the ActNorm, two states would be asked for there.
        if type(bijector) is Invertible1x1 and type(before) is ActNorm and len(paths) == 1:
            parts[-1] = (paths + names, Pair(before, bijector))
        else:
            parts.append((names, bijector))
    return parts


def _runs(
    parts: Sequence[tuple[Names, Part]], taps: Collection[str], inverse: bool
) -> Iterator[tuple[Names, Part]]:
    place = 0
    while place < len(parts):
        steps: list[tuple[Before, Dense]] = []
        while (step := _dense_step(parts[place : place + 3], taps, inverse)) is not None:
            before, dense, count = step
            steps.append((before, dense))
            place += count
            if _is_tapped(parts[place - 1][0], taps):
                break
        if steps:
            yield parts[place - 1][0], DenseRun(steps)
        else:
            yield parts[place]
            place += 1


def _dense_step(
    parts: Sequence[tuple[Names, Part]], taps: Collection[str], inverse: bool
) -> tuple[Before, Dense, int] | None:
    """Returns the step that some parts begin with, if they do, and of how many of them it is."""
    before: list[Part] = []
    for names, part in parts:
        if type(part) in AFFINE:
            assert isinstance(part, Bijector)
            dense = as_dense(part, inverse=inverse)
            if dense is None:
                return None
            if not before:
                return None, dense, 1
            first, *others = before
            if type(first) is Pair:
                return (first, dense, 2) if not others else None
            if type(first) is ActNorm and others and type(others[0]) is Permute:
                return (first, others[0]), dense, 3
            return None
        if _is_tapped(names, taps):
            return None
        before.append(part)
    return None


def _is_tapped(names: Names, taps: Collection[str]) -> bool:
    return any(name in taps for name in names)
