"""What a teacher says: of given rows, and of its own accord."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from flowkd.bijectors import State
from flowkd.errors import NonFiniteError
from flowkd.flows.flow import Flow


class TeacherTargets(NamedTuple):
    """What a teacher makes of some rows, by name, so that it can be stored and cut like data.

    Attributes:
        values: `z`, `log_prob`, and `h:TAP` and `log_det:TAP` of each tap, (B, ...) each.
    """

    values: Mapping[str, Tensor]

    @property
    def z(self) -> Tensor:
        """Latents, (B, *latent_shape)."""
        return self.values["z"]

    @property
    def log_prob(self) -> Tensor:
        """Log-density in nats, (B,)."""
        return self.values["log_prob"]

    def state(self, tap: str) -> State:
        """Returns the state at a tap."""
        return State(self.values[f"h:{tap}"], self.values[f"log_det:{tap}"])


def target_names(taps: Collection[str]) -> list[str]:
    """Returns the names of what is said of rows at these taps."""
    return ["z", "log_prob", *(f"{what}:{tap}" for tap in taps for what in ("h", "log_det"))]


def target_shapes(teacher: Flow, taps: Collection[str]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of what is said of one row, by name."""
    shapes: dict[str, tuple[int, ...]] = {"z": teacher.latent_shape, "log_prob": ()}
    for tap in taps:
        shapes |= {f"h:{tap}": teacher.taps[tap].shape, f"log_det:{tap}": ()}
    return shapes


@torch.no_grad()
def compute_targets(
    teacher: Flow, x: Tensor, context: Tensor | None = None, taps: Collection[str] = ()
) -> dict[str, Tensor]:
    """Returns the values of Answers for rows x, (B, *event_shape)."""
    encoding = teacher(x, context, taps)
    values = {"z": encoding.z, "log_prob": encoding.log_prob}
    for tap, state in encoding.states.items():
        values |= {f"h:{tap}": state.h, f"log_det:{tap}": state.log_det}
    return values


@dataclass(frozen=True)
class Bounds:
    """A box in data units: what lies outside is no sample to learn from.

    One teacher sample in a thousand may lie a million times further out than any data, and its
    gradient then is all that a batch's others are clipped for.

    Attributes:
        low: Least value, () or (*event_shape).
        high: Largest value.
    """

    low: Tensor
    high: Tensor

    @classmethod
    def around(cls, low: Tensor, high: Tensor, range_factor: float) -> Bounds:
        """Returns the box from low to high, `range_factor` times as wide about its centre."""
        centre, half = (high + low) / 2, (high - low) / 2
        return cls(centre - range_factor * half, centre + range_factor * half)

    def hold(self, x: Tensor) -> Tensor:
        """Tells for each row of x, (B, *event_shape), whether all of it lies inside."""
        inside = (x >= self.low.to(x.device)) & (x <= self.high.to(x.device))
        return inside.flatten(1).all(1)


def usable(x: Tensor, bounds: Bounds | None) -> Tensor:
    """Tells for each sample of (B, *event_shape) whether it is finite and in bounds, (B,)."""
    good = x.flatten(1).isfinite().all(1)
    return good if bounds is None else good & bounds.hold(x)


def no_usable_samples(tried: int) -> NonFiniteError:
    """Returns the error of a teacher of whose samples, so many, none is usable."""
    return NonFiniteError(
        f"none of {tried} samples of the teacher is finite and within samples.range_factor: lower "
        f"samples.temperature, or choose a teacher whose inverse is stable"
    )
