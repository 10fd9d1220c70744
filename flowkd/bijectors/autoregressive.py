"""Masked autoregressive maps, and the inverse of any bijector as a bijector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor

from flowkd.bijectors.base import Bijector
from flowkd.bijectors.univariate import Affine, Univariate
from flowkd.nn import MADE
from flowkd.nn.incremental import Schedule, Weights


@dataclass(frozen=True)
class Jacobi:
    """Fixed-point iterations instead of one column after the other; exact after as many as levels.

    x is near when one more iteration changes no value by more than the tolerance. Each is as much
    work as one pass at most, and all columns at once.
    Source: Accelerating Feedforward Computation via Parallel Nonlinear Equation Solving, 2021,
    https://arxiv.org/abs/2002.03629.

    Args:
        tolerance: In the units of the map's x: of order one within a flow.
        groups: Parts of the order that are found one after the other (Gauss-Seidel-Jacobi).

    Raises:
        ValueError: A tolerance below 0, or no group.
    """

    tolerance: float = 1e-4
    groups: int = 1

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise ValueError(f"expected a tolerance of at least 0; got {self.tolerance}")
        if self.groups < 1:
            raise ValueError(f"expected at least 1 group; got {self.groups}")

    def bounds(self, levels: int) -> list[tuple[int, int]]:
        """Returns the levels at which each group starts, and stops."""
        groups = min(self.groups, levels)
        return list(pairwise(levels * number // groups for number in range(groups + 1)))


class Autoregressive(Bijector):
    """Transforms each column by what a network makes of the columns before it.

    z_i = g(x_i; network(x_{<i})), with g a map of single numbers: forward in one pass of the
    network, inverse column by column. Wrapped in `Inverted` it is the other way round.
    Source: MAF, 2017, https://arxiv.org/abs/1705.07057; with a spline NSF, 2019,
    https://arxiv.org/abs/1906.04032.

    Args:
        conditioner: Maps x, (B, D), to P parameters of each column, (B, P D).
        transform: g; default affine.

    Attributes:
        bf16: Whether the conditioner computes in bfloat16 where it sees all columns at once, as it
            does in training; what it makes is in the dtype of x anyway.
        decoding: How x is found of z; default None, exactly, one level of columns after the other.
        frozen: Whether the weights do not change, so that they are sorted once.
        iterations: How many the last inverse took: one for each level where it is exact.
    """

    def __init__(self, conditioner: MADE, transform: Univariate | None = None) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.transform = transform or Affine()
        self.bf16 = False
        self.decoding: Jacobi | None = None
        self.iterations = 0
        self.frozen = False
        self._scheduled: Schedule | None = None
        self._weights: list[Weights | None] | None = None

    @property
    def retraceable(self) -> bool:
        """Whether x is found again within rounding: not by networks of two precisions."""
        return not self.bf16

    def extra_repr(self) -> str:
        """Returns what no part of it tells: the map of each column."""
        return f"transform={self.transform}"

    @property
    def one_pass(self) -> tuple[bool, bool]:
        """Whether forward, and inverse, is one pass."""
        return True, self._schedule().count == 1

    def _parameters_for(self, x: Tensor, context: Tensor | None) -> Tensor:
        if not self.bf16:
            made: Tensor = self.conditioner(x, context)
            return made
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.conditioner(x, context).to(x.dtype)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transforms every column at once."""
        z, log_slope = self.transform.forward(x, self._parameters_for(x, context))
        return z, log_slope.sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes the transform, one level of columns after the other."""
        schedule, jacobi = self._schedule(), self.decoding
        x, log_det, self.iterations = schedule.undo(
            self.transform.inverse,
            z,
            context,
            groups=None if jacobi is None else jacobi.bounds(schedule.count),
            tolerance=0.0 if jacobi is None else jacobi.tolerance,
            weights=self._kept_weights(),
        )
        if not torch.is_grad_enabled():
            return x, log_det
        x = self._with_gradients(x, z, context)
        return x, -self(x, context)[1]

    def _schedule(self) -> Schedule:
        levels = self.conditioner.levels()
        if self._scheduled is None or self._scheduled.levels is not levels:
            self._scheduled = Schedule(self.conditioner)
        return self._scheduled

    def _kept_weights(self) -> list[Weights | None] | None:
        if self.frozen and self._weights is None:
            self._weights = self._schedule().weights()
        return self._weights

    def for_inference(self) -> Autoregressive:
        """Returns a map of the same function that is faster, and whose weights do not change."""
        fast = Autoregressive(self.conditioner.premasked(), self.transform)
        fast.decoding, fast.frozen = self.decoding, True
        return fast

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self._weights = None
        return super()._apply(fn, recurse)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._weights = None
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_weights": None, "_scheduled": None}

    def _with_gradients(self, x: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
        """Returns x, the fixed point of u(x) = g^-1(z; network(x)), with the gradients of one.

        dx = A dx + du at fixed x, with A = du/dx nilpotent; so a gradient v of x is one of u at
        fixed x of v + A^T v + A^T A^T v and on, of as many terms as there are levels.
        """
        made, _ = self.transform.inverse(z, self._parameters_for(x, context))
        if not made.requires_grad:
            return x
        given = x.clone().requires_grad_()
        with torch.enable_grad():
            held = None if context is None else context.detach()
            again, _ = self.transform.inverse(z.detach(), self._parameters_for(given, held))

        def summed(grad: Tensor) -> Tensor:
            term = total = grad
            for _ in range(self._schedule().count - 1):
                (term,) = torch.autograd.grad(again, given, term, retain_graph=True)
                if not bool(term.any()):
                    break
                total = total + term
            return total

        made.register_hook(summed)
        return made


class Inverted(Bijector):
    """A bijector whose forward is another's inverse, and the other way round.

    Args:
        bijector: The other.
    """

    def __init__(self, bijector: Bijector) -> None:
        super().__init__()
        self.bijector = bijector

    @property
    def one_pass(self) -> tuple[bool, bool]:
        """Whether forward, and inverse, is one pass."""
        there, back = self.bijector.one_pass
        return back, there

    @property
    def retraceable(self) -> bool:
        """Whether the other is."""
        return self.bijector.retraceable

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps as the other's inverse does."""
        return self.bijector.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps as the other does."""
        z, log_det = self.bijector(z, context)
        return z, log_det
