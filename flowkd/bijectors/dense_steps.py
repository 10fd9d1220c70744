"""Affine steps with dense networks that are applied together, as one operation of autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from flowkd.bijectors.autoregressive import Autoregressive, Inverted
from flowkd.bijectors.base import Bijector
from flowkd.bijectors.coupling import Coupling
from flowkd.bijectors.dense_gradient import apply_steps
from flowkd.bijectors.dense_numbers import Plan, undo_steps
from flowkd.bijectors.elementwise import ActNorm
from flowkd.bijectors.joined import ChannelMap
from flowkd.bijectors.reshape import Permute
from flowkd.bijectors.scales import TanhScale
from flowkd.bijectors.univariate import Affine
from flowkd.nn import MADE, MLP
from flowkd.nn.made import Activation, Masked

MASKED_MLP = [Masked, Activation, Masked, Activation, Masked]


class Dense(NamedTuple):
    """An affine map by a network of three dense layers.

    Attributes:
        kept: A, its columns that pass unchanged; None where each is transformed by those before it.
        bound: Of its log-scales.
        added: What a context, (B, c), adds to the first layer; None without.
        masks: Of the layers' weights; () without.
        parameters: Weight and bias of each layer.
    """

    kept: int | None
    bound: float
    added: Callable[[Tensor | None], Tensor | None] | None
    masks: Sequence[Tensor]
    parameters: list[nn.Parameter | None]


class DenseStep(NamedTuple):
    """An affine map by a network, and what is before it: a map of the columns, or their ActNorm.

    After an ActNorm the columns have a new order.
    """

    before: ChannelMap | tuple[ActNorm, Permute] | None
    dense: Dense


def as_dense(bijector: Bijector, *, inverse: bool = False) -> Dense | None:
    """Returns what `apply_densely`, or with `inverse` `undo_densely`, may take for a bijector.

    None unless its network is of dense layers that nobody has changed or looks at, and one pass.
    Modules' own dictionaries are looked into, for each attribute of a module takes as long as a
    small sum, and this is done for each call of a flow.
    """
    inner = bijector
    if inverse and type(bijector) is Inverted and not _is_watched(bijector):
        inner = bijector.bijector
    if type(inner) is Autoregressive:
        kept = None
        if inverse == (inner is bijector):
            return None
    elif type(inner) is Coupling and inner is bijector:
        kept = inner.kept
    else:
        return None
    transform, network = inner.transform, inner._modules["conditioner"]
    assert network is not None
    if (
        type(transform) is not Affine
        or type(transform.scale) is not TanhScale
        or inner.bf16
        or _is_watched(inner)
        or _is_watched(network)
    ):
        return None
    bound = transform.scale.bound
    if type(network) is MADE:
        return _of_masked(network, bound)
    return _of_mlp(network, kept, bound) if type(network) is MLP and kept is not None else None


def _of_mlp(network: MLP, kept: int, bound: float) -> Dense | None:
    modules: dict[str, Any] = network._modules
    layers = [modules["first"], modules["middle"], modules["last"]]
    if any(type(layer) is not nn.Linear or _is_watched(layer) for layer in layers):
        return None
    return Dense(kept, bound, network.context, (), _parameters(layers))


def _of_masked(network: MADE, bound: float) -> Dense | None:
    parts: list[Any] = list(network.parts._modules.values())
    if [type(part) for part in parts] != MASKED_MLP or any(map(_is_watched, parts)):
        return None
    first, relu, middle, then, last = parts
    if not relu.name == then.name == "relu" or middle.context or last.context:
        return None
    layers = (first, middle, last)
    added = None if first.context is None else first.of_context
    masks = [layer._buffers["mask"] for layer in layers]
    return Dense(None, bound, added, masks, _parameters(layers))


def _parameters(layers: Sequence[nn.Module]) -> list[nn.Parameter | None]:
    return [layer._parameters[name] for layer in layers for name in ("weight", "bias")]


def _is_watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)


def apply_densely(
    steps: Sequence[DenseStep], x: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Applies steps in turn; returns z, (B, D), and the log_det of each network, (steps, B).

    Autograd's own graph of a small flow takes longer to write and to follow than its numbers take:
    here it is one operation, which computes the same.

    Args:
        steps: Maps, each with what is before it.
        x: Rows, (B, D).
        context: What the networks are given besides.
    """
    return apply_steps(*_taken(steps, context), x)


def undo_densely(
    steps: Sequence[DenseStep], z: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Undoes steps, the last first; returns x, (B, D), and log_dets, (steps, B).

    With gradients it is as many operations of autograd as it has, and the same numbers.

    Args:
        steps: Maps, each with an ActNorm or nothing before it.
        z: Rows, (B, D).
        context: What the networks are given besides.
    """
    return undo_steps(*_taken(steps, context), z)


def _taken(
    steps: Sequence[DenseStep], context: Tensor | None
) -> tuple[list[Plan], list[Tensor | None]]:
    """Returns the plan of each step, and the inputs of all."""
    plans: list[Plan] = []
    inputs: list[Tensor | None] = []
    for before, dense in steps:
        order = None
        if before is None:
            inputs += (None, None)
        elif isinstance(before, ChannelMap):
            inputs += (before.weight, before.bias)
        else:
            norm, order = before
            inputs += (norm._parameters["log_scale"], norm._parameters["bias"])
        inputs.append(None if dense.added is None else dense.added(context))
        inputs += dense.parameters
        plans.append(Plan(dense.kept, dense.bound, order, dense.masks))
    return plans, inputs
