"""What affine steps with dense networks compute, there and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, relu_

from flowkd.bijectors.reshape import Permute

INPUTS = 9  # of a step: the two of its map, what the context adds, and six weights
WEIGHTS = (3, 5, 7)  # places of the three that may be masked


class Plan(NamedTuple):
    """What a step's inputs do not tell.

    Attributes:
        kept: A, its columns that pass unchanged; None where each is transformed by those before it.
        bound: Of its log-scales.
        order: After an ActNorm, whose log_scale and bias are the first inputs then; None where
            they are the weight and the bias of a map.
        masks: Of its network's weights, in turn; () without.
    """

    kept: int | None
    bound: float
    order: Permute | None
    masks: Sequence[Tensor] = ()


class Made(NamedTuple):
    """What a step keeps for its gradient.

    Attributes:
        normed: After its ActNorm; before its map, where it has none.
        mapped: What the network's columns, and those that it changes, are taken of.
        first: The network's first hidden layer.
        middle: Its second.
        sigmoid: Of which the log-scales are made.
        scale: Of the changed columns.
    """

    normed: Tensor
    mapped: Tensor
    first: Tensor
    middle: Tensor
    sigmoid: Tensor
    scale: Tensor


def ready(plans: Sequence[Plan], inputs: Sequence[Any], *, inverse: bool = False) -> list[Any]:
    """Returns the inputs with their weights masked, and with the scale and shift of each ActNorm.

    Those of all steps at once, for most are so small that a call takes longer than its numbers.

    Args:
        plans: Of the steps in turn.
        inputs: As `apply_steps` takes them.
        inverse: Whether scale and shift are those of the way back.
    """
    made = list(inputs)
    norms = [place * INPUTS for place, plan in enumerate(plans) if plan.order is not None]
    if norms:
        log_scales, biases = [made[at] for at in norms], [made[at + 1] for at in norms]
        if inverse:
            scales = torch._foreach_exp(torch._foreach_neg(log_scales))
            shifts = torch._foreach_neg(biases)
        else:
            scales = torch._foreach_exp(log_scales)
            shifts = torch._foreach_mul(biases, scales)
        for at, scale, shift in zip(norms, scales, shifts, strict=True):
            made[at], made[at + 1] = scale, shift
    masks = [mask for plan in plans for mask in plan.masks]
    if masks:
        places = masked_places(plans)
        masked = torch._foreach_mul([made[at] for at in places], masks)
        for at, weight in zip(places, masked, strict=True):
            made[at] = weight
    return made


def masked_places(plans: Sequence[Plan]) -> list[int]:
    """Returns where the masked weights are among the inputs."""
    return [place * INPUTS + at for place, plan in enumerate(plans) if plan.masks for at in WEIGHTS]


def halves(plan: Plan, x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the columns that a step's network sees, and those that it changes."""
    if plan.kept is None:
        return x, x
    kept, changed = torch.split_with_sizes(x, [plan.kept, x.shape[1] - plan.kept], 1)
    return kept, changed


def _network(
    plan: Plan, seen: Tensor, inputs: Sequence[Any]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns a network's two hidden layers, shift, sigmoid and the log-scale made of that."""
    added, *layers = inputs
    first = linear(seen, layers[0], layers[1])
    first = relu_(first if added is None else first + added)
    middle = relu_(linear(first, layers[2], layers[3]))
    shift, raw = linear(middle, layers[4], layers[5]).chunk(2, 1)
    # tanh(v) = 1 - 2 sigmoid(-2 v): of many numbers torch computes it in a sixth of tanh's time.
    sigmoid = torch.sigmoid(raw * (-2 / plan.bound))
    log_scale = torch.rsub(sigmoid, plan.bound, alpha=2 * plan.bound)
    return first, middle, shift, sigmoid, log_scale


def _step(plan: Plan, x: Tensor, inputs: Sequence[Any]) -> tuple[Tensor, Tensor, Made]:
    weight, bias, *rest = inputs
    if plan.order is not None:
        x = torch.addcmul(bias, x, weight)
        mapped = plan.order.reorder(x)
    else:
        mapped = x if weight is None else torch.addmm(bias, x, weight.t())
    seen, changed = halves(plan, mapped)
    first, middle, shift, sigmoid, log_scale = _network(plan, seen, rest)
    scale = log_scale.exp()
    z = torch.addcmul(shift, changed, scale)
    if plan.kept is not None:
        z = torch.cat([seen, z], 1)
    return z, log_scale, Made(x, mapped, first, middle, sigmoid, scale)


def compute(
    plans: Sequence[Plan], x: Tensor, inputs: Sequence[Any]
) -> tuple[Tensor, Tensor, list[Made]]:
    """Returns z, the log_det of each step's network, (steps, B), and what each keeps.

    Args:
        plans: Of the steps in turn.
        x: (B, D).
        inputs: As `ready` returns them.
    """
    log_scales, kept = [], []
    for place, plan in enumerate(plans):
        x, log_scale, made = _step(plan, x, inputs[INPUTS * place : INPUTS * (place + 1)])
        log_scales.append(log_scale)
        kept.append(made)
    return x, torch.stack([each.sum(1) for each in log_scales]), kept


def undo_steps(plans: Sequence[Plan], inputs: Sequence[Any], z: Tensor) -> tuple[Tensor, Tensor]:
    """Returns x, (B, D), and the log_det of each step's network on the way back, (steps, B).

    A step that transforms each column by those before it is taken as one that is the other way
    round: its one pass makes x of z.

    Args:
        plans: Of the steps in turn.
        z: (B, D).
        inputs: As of `apply_steps`, with an ActNorm or nothing before each.
    """
    used, log_dets = ready(plans, inputs, inverse=True), []
    for place in reversed(range(len(plans))):
        plan = plans[place]
        scale, shift, *rest = used[INPUTS * place : INPUTS * (place + 1)]
        seen, changed = halves(plan, z)
        _, _, moved, _, log_scale = _network(plan, seen, rest)
        if plan.kept is None:
            z = torch.addcmul(moved, changed, log_scale.exp())
            log_dets.append(log_scale.sum(1))
        else:
            z = torch.cat([seen, (changed - moved) * log_scale.neg().exp_()], 1)
            log_dets.append(log_scale.sum(1).neg_())
        if plan.order is not None:
            z = torch.addcmul(shift, plan.order.restore(z), scale)
    return z, torch.stack(log_dets[::-1])
