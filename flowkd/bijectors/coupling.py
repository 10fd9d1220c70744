"""Coupling: some channels decide how the others are transformed."""

from __future__ import annotations

import torch
from torch import Tensor

from flowkd.bijectors.base import Bijector
from flowkd.bijectors.reversible import Retraced
from flowkd.nn import Conditioner

LOG_SCALE_BOUND = 2.0


class AffineCoupling(Bijector):
    """Scales and shifts the trailing channels by what the leading ones say.

    z_a = x_a; z_b = x_b exp(s(x_a)) + t(x_a), with s bounded by +-2, softly, by a tanh.
    With Gaussian base it is also Glow's learned prior of a split.
    Source: RealNVP, 2017, https://arxiv.org/abs/1605.08803, section 3.2.

    Args:
        conditioner: Maps x_a, (B, A, *rest), to t and s in (B, 2 (C - A), *rest).
        kept: A, the number of leading channels that pass unchanged.

    Attributes:
        bf16: Whether the conditioner computes in bfloat16; t and s are in the dtype of x anyway.
    """

    def __init__(self, conditioner: Conditioner, kept: int) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.kept = kept
        self.bf16 = False

    def _parameters_for(self, kept: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.bf16:
            with torch.autocast(kept.device.type, torch.bfloat16):
                made = self.conditioner(kept, context).to(kept.dtype)
        else:
            made = self.conditioner(kept, context)
        shift, raw = made.chunk(2, dim=1)
        return shift, LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transforms the trailing channels."""
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        shift, log_scale = self._parameters_for(kept, context)
        changed, log_det = _transform(changed, shift, log_scale)
        return torch.cat([kept, changed], dim=1), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes the transform: the leading channels still say what it was."""
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        shift, log_scale = self._parameters_for(kept, context)
        changed, log_det = _undo(changed, shift, log_scale)
        return torch.cat([kept, changed], dim=1), log_det

    def retrace(
        self, made: Tensor, context: Tensor | None = None, *, inverse: bool = False
    ) -> Retraced:
        """Computes the parameters once, for the way back and for the step."""
        step, undo = (_undo, _transform) if inverse else (_transform, _undo)
        kept = made[:, : self.kept].detach().requires_grad_()
        shift, log_scale = self._parameters_for(kept, context)
        with torch.no_grad():
            changed, _ = undo(made[:, self.kept :], shift, log_scale)
        changed.requires_grad_()
        again, log_det = step(changed, shift, log_scale)
        return Retraced((kept, changed), (kept, again), log_det)


def _transform(x: Tensor, shift: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    return torch.addcmul(shift, x, log_scale.exp()), log_scale.flatten(1).sum(1)


def _undo(z: Tensor, shift: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    return (z - shift) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)
