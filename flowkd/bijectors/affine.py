"""An affine coupling with a gradient written by hand: fewer passes than autograd makes of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def couple(
    kept: Tensor, changed: Tensor, shift: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns kept channels and behind them the others, scaled and shifted; and the log_det, (B,).

    Args:
        kept: (B, A, *rest).
        changed: x, (B, D, *rest).
        shift: t, of the shape of x.
        log_scale: s of z = x exp(s) + t, of the shape of x.
    """
    if torch.is_grad_enabled():
        z, log_det, _ = _Couple.apply(kept, changed, shift, log_scale)
        return z, log_det
    z, log_det, _ = _couple(kept, changed, shift, log_scale)
    return z, log_det


def _couple(
    kept: Tensor, changed: Tensor, shift: Tensor, log_scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    scale = log_scale.exp()
    z = torch.cat([kept, torch.addcmul(shift, changed, scale)], dim=1)
    return z, log_scale.flatten(1).sum(1), scale


class _Couple(torch.autograd.Function):
    # What is here can be differentiated again, and mapped over by torch.func.

    generate_vmap_rule = True

    @staticmethod
    def forward(
        kept: Tensor, changed: Tensor, shift: Tensor, log_scale: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return _couple(kept, changed, shift, log_scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        _, changed, _, log_scale = inputs
        scale = output[2]
        ctx.mark_non_differentiable(scale)
        ctx.save_for_backward(changed, log_scale, scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_log_det: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        changed, log_scale, scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a gradient of gradients
            scale = log_scale.exp()
        of_kept, of_changed = grad.split([grad.shape[1] - changed.shape[1], changed.shape[1]], 1)
        scaled = of_changed * scale
        each = grad_log_det.view(-1, *[1] * (grad.dim() - 1))
        return of_kept, scaled, of_changed, torch.addcmul(each, changed, scaled)
