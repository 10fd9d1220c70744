"""Coupling: some channels decide how the others are transformed."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from flowkd.bijectors.affine import couple
from flowkd.bijectors.base import Bijector
from flowkd.bijectors.reversible import Retraced
from flowkd.bijectors.univariate import Affine, Univariate
from flowkd.nn import Conditioner


class Coupling(Bijector):
    """Transforms each value of the trailing channels by what a network makes of the leading ones.

    z_a = x_a; z_b = g(x_b; network(x_a)), with g a map of single numbers.
    With the affine one and a Gaussian base it is also Glow's learned prior of a split.
    Source: RealNVP, 2017, https://arxiv.org/abs/1605.08803, section 3.2.

    Args:
        conditioner: Maps x_a, (B, A, *rest), to the P parameters of each value of x_b, in
            (B, P (C - A), *rest).
        kept: A, the number of leading channels that pass unchanged.
        transform: g; default affine.

    Attributes:
        bf16: Whether the conditioner computes in bfloat16; what it makes is in the dtype of x
            anyway.
    """

    def __init__(
        self, conditioner: Conditioner, kept: int, transform: Univariate | None = None
    ) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.kept = kept
        self.transform = transform or Affine()
        self.bf16 = False

    def extra_repr(self) -> str:
        """Returns what no part of it tells: what passes unchanged, and the map of the others."""
        return f"kept={self.kept}, transform={self.transform}"

    def _parameters_for(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """Returns what the conditioner makes, laid out as the state: channel by channel."""
        with torch.autocast(kept.device.type, torch.bfloat16) if self.bf16 else nullcontext():
            made: Tensor = self.conditioner(kept, context)
        return made.to(kept.dtype).contiguous()

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transforms the trailing channels."""
        # By split, whose gradient is one copy; that of a slice begins with zeros in its place.
        kept, changed = x.split([self.kept, x.shape[1] - self.kept], dim=1)
        parameters = self._parameters_for(kept, context)
        if isinstance(self.transform, Affine):
            return couple(kept, changed, *self.transform.split(parameters))
        changed, log_slope = self.transform.forward(changed, parameters)
        return torch.cat([kept, changed], dim=1), log_slope.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes the transform: the leading channels still say what it was."""
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        changed, log_slope = self.transform.inverse(changed, self._parameters_for(kept, context))
        return torch.cat([kept, changed], dim=1), log_slope.flatten(1).sum(1)

    def retrace(
        self, made: Tensor, context: Tensor | None = None, *, inverse: bool = False
    ) -> Retraced:
        """Computes the parameters once, for the way back and for the step."""
        there, back = self.transform.forward, self.transform.inverse
        step, undo = (back, there) if inverse else (there, back)
        kept = made[:, : self.kept].detach().requires_grad_()
        parameters = self._parameters_for(kept, context)
        with torch.no_grad():
            changed, _ = undo(made[:, self.kept :], parameters)
        changed.requires_grad_()
        again, log_slope = step(changed, parameters)
        return Retraced((kept, changed), (kept, again), log_slope.flatten(1).sum(1))
