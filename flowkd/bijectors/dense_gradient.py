"""Affine steps with dense networks as one operation of autograd, with a gradient by hand."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from flowkd.bijectors.dense_numbers import (
    INPUTS,
    Made,
    Plan,
    compute,
    halves,
    masked_places,
    ready,
)


def apply_steps(plans: Sequence[Plan], inputs: Sequence[Any], x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns z, (B, D), and the log_det of each step's network, (steps, B).

    Args:
        plans: Of the steps in turn.
        x: (B, D).
        inputs: INPUTS of each step: the log_scale and bias of its ActNorm, or the weight and bias
            of its map; what a context adds; weight and bias of each layer.
    """
    if torch.is_grad_enabled():
        z, log_dets = _Steps.apply(plans, x, *inputs)
        return z, log_dets
    return compute(plans, x, ready(plans, inputs))[:2]


class _Steps(torch.autograd.Function):
    # No setup_context, with which torch looks at the signature at each call, for 0.1 ms.

    @staticmethod
    def forward(
        ctx: Any, plans: Sequence[Plan], x: Tensor, *inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        used = ready(plans, inputs)
        z, log_dets, made = compute(plans, x, used)
        ctx.plans = plans
        ctx.save_for_backward(x, *inputs, *used, *chain.from_iterable(made))
        return z, log_dets

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_log_dets: Tensor) -> tuple[Tensor | None, ...]:
        plans, saved, needed = ctx.plans, ctx.saved_tensors, ctx.needs_input_grad[1:]
        count, width = INPUTS * len(plans), len(Made._fields)
        inputs, used, made = saved[: count + 1], saved[count + 1 :], saved[2 * count + 1 :]
        if torch.is_grad_enabled():  # for a gradient of gradients
            return None, *_by_autograd(plans, inputs, needed, (grad, grad_log_dets))
        of_rows = (4 * grad_log_dets)[:, :, None].unbind()
        found: list[Tensor | None] = [None] * count
        for place in reversed(range(len(plans))):
            at = slice(INPUTS * place, INPUTS * (place + 1))
            grad, found[at] = _back(
                plans[place],
                used[at],
                Made(*made[width * place : width * (place + 1)]),
                grad,
                of_rows[place],
                needed[1:][at],
                place > 0 or needed[0],
            )
        masks = chain.from_iterable(plan.masks for plan in plans)
        masked = [
            (of_weight, mask)
            for at, mask in zip(masked_places(plans), masks, strict=True)
            if (of_weight := found[at]) is not None
        ]
        if masked:
            torch._foreach_mul_(*map(list, zip(*masked, strict=True)))
        return None, grad, *found


def _back(
    plan: Plan,
    inputs: Sequence[Any],
    made: Made,
    grad: Tensor,
    of_row: Tensor,
    needed: Sequence[bool],
    given: bool,
) -> tuple[Any, list[Tensor | None]]:
    """Returns the gradient of what a step was given, if that is wanted, and of its inputs.

    Of `of_row`, what the log-determinant's gradient is, four times is given.
    """
    weight, _, _, *layers = inputs
    of_kept, of_changed = halves(plan, grad)
    kept, changed = halves(plan, made.mapped)
    scaled = of_changed * made.scale
    # ds/du = 4 sigmoid (1 - sigmoid)
    of_log_scale = torch.addcmul(of_row, changed, scaled, value=4)
    of_raw = torch.ops.aten.sigmoid_backward(of_log_scale, made.sigmoid)
    of_last = torch.cat([of_changed, of_raw], 1)
    of_middle = torch.ops.aten.threshold_backward(of_last.mm(layers[4]), made.middle, 0)
    of_first = torch.ops.aten.threshold_backward(of_middle.mm(layers[2]), made.first, 0)
    found: list[Tensor | None] = [of_first if needed[2] else None]
    into = (kept, made.first, made.middle)
    for layer, of_layer in enumerate((of_first, of_middle, of_last)):
        found.append(of_layer.t().mm(into[layer]) if needed[3 + 2 * layer] else None)
        found.append(of_layer.sum(0) if needed[4 + 2 * layer] else None)
    if not given and not needed[0] and not needed[1]:
        return None, [None, None, *found]
    if plan.kept is None:
        grad = torch.addmm(scaled, of_first, layers[0])
    else:
        grad = torch.cat([torch.addmm(of_kept, of_first, layers[0]), scaled], 1)
    back, *of_map = _back_to_given(plan, weight, made, grad, needed, given)
    return back, [*of_map, *found]


def _back_to_given(
    plan: Plan,
    weight: Tensor | None,
    made: Made,
    grad: Tensor,
    needed: Sequence[bool],
    given: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Returns the gradients of what a step was given and of the two inputs of its map.

    Args:
        plan: Of the step.
        weight: Its map's, or the scale of its ActNorm.
        made: What it has kept.
        grad: Of what its coupling was given.
        needed: Of its inputs, which gradients are.
        given: Whether that of what it was given is.
    """
    if weight is None:
        return grad, None, None
    if plan.order is None:
        of_weight = grad.t().mm(made.normed) if needed[0] else None
        of_bias = grad.sum(0) if needed[1] else None
        return grad.mm(weight) if given else None, of_weight, of_bias
    grad = plan.order.restore(grad)
    of_log_scale = (grad * made.normed).sum(0) if needed[0] else None
    back = grad * weight if given or needed[1] else None
    of_bias = back.sum(0) if back is not None and needed[1] else None
    return back, of_log_scale, of_bias


def _by_autograd(
    plans: Sequence[Plan],
    inputs: Sequence[Any],
    needed: Sequence[bool],
    grads: tuple[Tensor, Tensor],
) -> list[Tensor | None]:
    """Returns the gradients as operations that have gradients themselves."""
    made = compute(plans, inputs[0], ready(plans, inputs[1:]))[:2]
    wanted = [value for value, need in zip(inputs, needed, strict=True) if need]
    found = iter(torch.autograd.grad(made, wanted, grads, create_graph=True))
    return [next(found) if need else None for need in needed]
