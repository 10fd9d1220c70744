"""What a teacher says: of given rows, and of its own accord."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from flowkd.bijectors import State
from flowkd.errors import NonFiniteError
from flowkd.flow import Flow


class Answers(NamedTuple):
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


@torch.no_grad()
def answer(
    teacher: Flow, x: Tensor, context: Tensor | None = None, taps: Collection[str] = ()
) -> dict[str, Tensor]:
    """Returns the values of Answers for rows x, (B, *event_shape)."""
    encoding = teacher(x, context, taps)
    values = {"z": encoding.z, "log_prob": encoding.log_prob}
    for tap, state in encoding.states.items():
        values |= {f"h:{tap}": state.h, f"log_det:{tap}": state.log_det}
    return values


@torch.no_grad()
def decode(
    teacher: Flow, z: Tensor, context: Tensor | None = None
) -> tuple[Tensor, Tensor | None, int]:
    """Makes samples of latents and drops those that are not finite.

    Args:
        teacher: Whose samples.
        z: Latents, (B, *latent_shape).
        context: Of each.

    Returns:
        The samples that are finite, (b, *event_shape), their context, and how many were dropped.

    Raises:
        NonFiniteError: None is finite.
    """
    x = teacher.inverse(z, context)
    finite = x.flatten(1).isfinite().all(1)
    dropped = len(x) - int(finite.sum())
    if dropped == len(x):
        raise NonFiniteError(
            f"none of {len(x)} samples of the teacher is finite: lower samples.temperature, or "
            f"choose a teacher whose inverse is stable"
        )
    if dropped:
        x, context = x[finite], None if context is None else context[finite]
    return x, context, dropped
