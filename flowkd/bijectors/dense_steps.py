"""Affine couplings by dense networks, and the maps between them, with one gradient by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu_

from flowkd.bijectors.coupling import Coupling
from flowkd.bijectors.elementwise import ActNorm
from flowkd.bijectors.joined import ChannelMap
from flowkd.bijectors.reshape import Permute
from flowkd.bijectors.scales import TanhScale
from flowkd.bijectors.univariate import Affine
from flowkd.nn import MLP

INPUTS = 9  # of a step: the two of its map, what the context adds, and six weights


class DenseStep(NamedTuple):
    """A coupling, and what is before it: a map of the columns, or their ActNorm and new order."""

    before: ChannelMap | tuple[ActNorm, Permute] | None
    coupling: Coupling


def is_dense(coupling: Coupling) -> bool:
    """Tells whether `apply_densely` may stand for a coupling.

    Where its network is of dense layers that nobody has changed or looks at.
    """
    network, transform = coupling.conditioner, coupling.transform
    if (
        type(coupling) is not Coupling
        or type(network) is not MLP
        or type(transform) is not Affine
        or type(transform.scale) is not TanhScale
        or coupling.bf16
        or _is_watched(coupling)
        or _is_watched(network)
    ):
        return False
    layers = (network.first, network.middle, network.last)
    return all(type(layer) is nn.Linear and not _is_watched(layer) for layer in layers)


def _is_watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def apply_densely(
    steps: Sequence[DenseStep], x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Applies steps in turn; returns z, (B, D), and the log_det of each coupling, (steps, B).

    Autograd's own graph of a small flow takes longer to write and to follow than its numbers take:
    here it is one operation, which computes the same.

    Args:
        steps: Their couplings are such as `is_dense` tells.
        x: Rows, (B, D).
        context: What the networks are given besides.
    """
    plans: list[_Plan] = []
    inputs: list[Tensor | None] = []
    for before, coupling in steps:
        network, transform = coupling.conditioner, coupling.transform
        assert isinstance(network, MLP)
        assert isinstance(transform, Affine)
        assert isinstance(transform.scale, TanhScale)
        order = None
        if before is None:
            inputs += [None, None]
        elif isinstance(before, ChannelMap):
            inputs += [before.weight, before.bias]
        else:
            norm, order = before
            inputs += [norm.log_scale, norm.bias]
        plans.append(_Plan(coupling.kept, transform.scale.bound, order))
        inputs.append(None if network.context is None else network.context(context))
        for layer in (network.first, network.middle, network.last):
            inputs += [layer.weight, layer.bias]
    if torch.is_grad_enabled():
        z, log_dets = _DenseSteps.apply(plans, x, *inputs)
    else:
        z, log_dets, _ = _steps(plans, x, inputs)
    return z, log_dets


class _Plan(NamedTuple):
    """What a step's inputs do not tell.

    Attributes:
        kept: A, its columns that pass unchanged.
        bound: Of its log-scales.
        order: After an ActNorm, whose log_scale and bias are the first inputs then; None where
            they are the weight and the bias of a map.
    """

    kept: int
    bound: float
    order: Permute | None


class _Made(NamedTuple):
    """What a step keeps for its gradient.

    Attributes:
        normed: After its ActNorm; before its map, where it has none.
        mapped: What the coupling is given.
        norm: The scale of the ActNorm; None without.
        first: The network's first hidden layer.
        middle: Its second.
        sigmoid: Of which the log-scales are made.
        scale: Of the changed columns.
    """

    normed: Tensor
    mapped: Tensor
    norm: Tensor | None
    first: Tensor
    middle: Tensor
    sigmoid: Tensor
    scale: Tensor


def _step(plan: _Plan, x: Tensor, inputs: Sequence[Any]) -> tuple[Tensor, Tensor, _Made]:
    weight, bias, added, *layers = inputs
    norm = None
    if plan.order is not None:
        norm = weight.exp()
        x = torch.addcmul(bias * norm, x, norm)
        mapped = plan.order.reorder(x)
    else:
        mapped = x if weight is None else torch.addmm(bias, x, weight.t())
    kept, changed = torch.split_with_sizes(mapped, [plan.kept, x.shape[1] - plan.kept], 1)
    first = linear(kept, layers[0], layers[1])
    first = relu_(first if added is None else first + added)
    middle = relu_(linear(first, layers[2], layers[3]))
    shift, raw = linear(middle, layers[4], layers[5]).chunk(2, 1)
    # tanh(v) = 1 - 2 sigmoid(-2 v): of many numbers torch computes it in a sixth of tanh's time.
    sigmoid = torch.sigmoid(raw * (-2 / plan.bound))
    log_scale = torch.rsub(sigmoid, plan.bound, alpha=2 * plan.bound)
    scale = log_scale.exp()
    z = torch.cat([kept, torch.addcmul(shift, changed, scale)], 1)
    return z, log_scale, _Made(x, mapped, norm, first, middle, sigmoid, scale)


def _steps(
    plans: Sequence[_Plan], x: Tensor, inputs: Sequence[Any]
) -> tuple[Tensor, Tensor, list[_Made]]:
    log_dets, kept = [], []
    for place, plan in enumerate(plans):
        x, log_scale, made = _step(plan, x, inputs[INPUTS * place : INPUTS * (place + 1)])
        log_dets.append(log_scale.sum(1))
        kept.append(made)
    return x, torch.stack(log_dets), kept


class _DenseSteps(torch.autograd.Function):
    # No setup_context, with which torch looks at the signature at each call, for 0.1 ms.

    @staticmethod
    def forward(
        ctx: Any, plans: Sequence[_Plan], x: Tensor, *inputs: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        z, log_dets, made = _steps(plans, x, inputs)
        ctx.plans = plans
        ctx.save_for_backward(x, *inputs, *(value for each in made for value in each))
        return z, log_dets

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_log_dets: Tensor) -> tuple[Tensor | None, ...]:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad[1:]
        count = 1 + INPUTS * len(ctx.plans)
        if torch.is_grad_enabled():  # for a gradient of gradients
            return None, *_by_autograd(ctx.plans, saved[:count], needed, (grad, grad_log_dets))
        of_rows = (4 * grad_log_dets)[:, :, None].unbind()
        found: list[Tensor | None] = []
        for place in reversed(range(len(ctx.plans))):
            at = slice(1 + INPUTS * place, 1 + INPUTS * (place + 1))
            made = _Made(*saved[count + len(_Made._fields) * place :][: len(_Made._fields)])
            given = place > 0 or needed[0]
            grad, of_inputs = _back(
                ctx.plans[place], saved[at], made, grad, of_rows[place], needed[at], given
            )
            found = of_inputs + found
        return None, grad, *found


def _back(
    plan: _Plan,
    inputs: Sequence[Any],
    made: _Made,
    grad: Tensor,
    of_row: Tensor,
    needed: Sequence[bool],
    given: bool,
) -> tuple[Any, list[Tensor | None]]:
    """Returns the gradient of what a step was given, if that is wanted, and of its inputs.

    Of `of_row`, what the log-determinant's gradient is, four times is given.
    """
    weight, _, _, *layers = inputs
    sizes = [plan.kept, grad.shape[1] - plan.kept]
    of_kept, of_changed = torch.split_with_sizes(grad, sizes, 1)
    kept, changed = torch.split_with_sizes(made.mapped, sizes, 1)
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
    grad = torch.cat([torch.addmm(of_kept, of_first, layers[0]), scaled], 1)
    if plan.order is not None:
        assert made.norm is not None
        grad = plan.order.restore(grad)
        of_weight = (grad * made.normed).sum(0) if needed[0] else None
        back = grad * made.norm if given or needed[1] else None
        of_bias = back.sum(0) if back is not None and needed[1] else None
    elif weight is not None:
        of_weight = grad.t().mm(made.normed) if needed[0] else None
        of_bias = grad.sum(0) if needed[1] else None
        back = grad.mm(weight) if given else None
    else:
        back, of_weight, of_bias = grad, None, None
    return back, [of_weight, of_bias, *found]


def _by_autograd(
    plans: Sequence[_Plan],
    inputs: Sequence[Any],
    needed: Sequence[bool],
    grads: tuple[Tensor, Tensor],
) -> list[Tensor | None]:
    """Returns the gradients as operations that have gradients themselves."""
    made = _steps(plans, inputs[0], inputs[1:])[:2]
    wanted = [value for value, need in zip(inputs, needed, strict=True) if need]
    found = iter(torch.autograd.grad(made, wanted, grads, create_graph=True))
    return [next(found) if need else None for need in needed]
