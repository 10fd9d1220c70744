"""What a student may learn from: a flow of flowkd, or another model that can do less."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from flowkd.bijectors import Bijector, Shape, Tap
from flowkd.flows.context import ContextSpec
from flowkd.flows.flow import Ability, Encoding


class Teacher(Protocol):
    """A density over (B, *event_shape) to learn from; `Flow` is one.

    `log_prob` is what every teacher has. `abilities` tells what else: "samples" for `sample`,
    "latents" for calling it, whose latents are standard normal, "decoding" for `inverse`, "taps"
    for states within. What it has not raises ValueError.

    Attributes:
        event_shape: Shape of one example.
        latent_shape: Shape of its latent.
        context: What it is conditioned on.
        abilities: What it has besides log_prob.
        taps: Every place whose state may be recorded, by name.
    """

    event_shape: Shape
    latent_shape: Shape
    context: ContextSpec

    @property
    def abilities(self) -> frozenset[Ability]:
        """What it has besides log_prob."""

    @property
    def taps(self) -> Mapping[str, Tap]:
        """Every place whose state may be recorded, by name."""

    @property
    def dimensions(self) -> int:
        """D, the number of values in one example."""

    @property
    def preprocess(self) -> Bijector:
        """From data units to order one."""

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns log p(x | context) in nats, (B,)."""

    def sample(
        self,
        n: int,
        context: Tensor | None = None,
        *,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draws n examples, (n, *event_shape), in data units, without gradients."""

    def __call__(
        self, x: Tensor, context: Tensor | None = None, taps: Collection[str] = ()
    ) -> Encoding:
        """Encodes data."""

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps latents (B, *latent_shape) to data (B, *event_shape)."""

    def draw_latents(
        self, n: int, *, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draws z ~ N(0, temperature^2), (n, *latent_shape)."""

    def parameters(self) -> Any:
        """Returns its parameters, by which its device and dtype are told."""

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Sets whether its parameters have gradients."""

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Moves it."""


def missing(teacher: Teacher, terms: Mapping[str, Ability]) -> str | None:
    """Returns in words what terms need that a teacher has not, with the terms that it can teach.

    Args:
        teacher: The teacher.
        terms: The terms that count, and what each needs of it.
    """
    lacking = {term: need for term, need in terms.items() if need not in teacher.abilities}
    if not lacking:
        return None
    [(term, need), *_] = lacking.items()
    has = ", ".join(["log_prob", *sorted(teacher.abilities)])
    return (
        f"expected a teacher that has {need}, for the term {term!r}; got one that has {has}: leave "
        f"the term out, or convert the teacher by `flowkd models import`"
    )
