"""What nflows and normflows have in common: both descend from the code of Neural Spline Flows."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.flows.converted.layers import AutoregressiveLayer, CouplingLayer, ElementwiseLayer
from flowkd.flows.converted.transforms import AffineMap, SplineMap
from flowkd.foreign.convert.networks import (
    Network,
    Steps,
    activation_of,
    by_parameter,
    constant,
)
from flowkd.foreign.convert.parts import Part, Weights, around, permute, refuse


def within(prefix: str, network: Network) -> Weights:
    """Returns a network's weights by the names that they have in a layer."""
    return {f"{prefix}.{key}": value for key, value in network.weights.items()}


def masked_steps(made: Any, name: str, *, of_nflows: bool) -> Steps:
    """Returns a MADE of nflows or of normflows, whose contexts and activations differ.

    Args:
        made: The network.
        name: Of it, for messages.
        of_nflows: In nflows the first layer's context goes through an activation, and the output
            of the first layer, if no residual block follows; in normflows a context gates blocks.
    """
    if not isinstance(getattr(made, "preprocessing", nn.Identity()), nn.Identity):
        refuse(f"{name}.preprocessing", made.preprocessing, "flowkd has no such layer")
    first = made.initial_layer
    steps = Steps(first.in_features, masked=True)
    between = activation_of(made.activation, name) if hasattr(made, "activation") else None
    context = getattr(made, "context_layer", None)
    steps.linear(
        first.weight * first.mask, first.bias, first.mask,
        None if context is None else (context.weight, context.bias),
        between if of_nflows and context is not None else None,
    )  # fmt: skip
    if of_nflows and not made.use_residual_blocks:
        assert between is not None
        steps.activation(between)
    for number, block in enumerate(made.blocks):
        place = f"{name}.blocks.{number}"
        if hasattr(block, "linear_layers"):
            _masked_block(steps, block, place, of_nflows)
        else:
            if block.batch_norm is not None:
                refuse(place, block, "expected no batch normalisation within networks")
            steps.linear(
                block.linear.weight * block.linear.mask, block.linear.bias, block.linear.mask
            )
            steps.activation(activation_of(block.activation, place))
    last = made.final_layer
    steps.linear(last.weight * last.mask, last.bias, last.mask)
    return steps


def _masked_block(steps: Steps, block: Any, name: str, of_nflows: bool) -> None:
    if block.use_batch_norm:
        refuse(name, block, "expected no batch normalisation within networks")
    context = getattr(block, "context_layer", None)
    seen = None if context is None else (context.weight, context.bias)
    inner, between = Steps(0, masked=True), activation_of(block.activation, name)
    for number, layer in enumerate(block.linear_layers):
        inner.activation(between)
        adds = seen if of_nflows and number == 0 else None
        inner.linear(layer.weight * layer.mask, layer.bias, layer.mask, adds)
    steps.residual(inner, None if of_nflows else seen)


def residual_steps(net: Any, columns: int, name: str) -> Steps:
    """Returns a ResidualNet, of either library: a context comes first, and gates its blocks."""
    if getattr(net, "preprocessing", None) is not None:
        refuse(f"{name}.preprocessing", net.preprocessing, "flowkd has no such layer")
    steps, first = Steps(columns), net.initial_layer
    seen = first.in_features - columns
    steps.linear(
        first.weight[:, :columns], first.bias,
        context=(first.weight[:, columns:], None) if seen else None,
    )  # fmt: skip
    for number, block in enumerate(net.blocks):
        place = f"{name}.blocks.{number}"
        if block.use_batch_norm:
            refuse(place, block, "expected no batch normalisation within networks")
        inner, between = Steps(0), activation_of(block.activation, place)
        for layer in block.linear_layers:
            inner.activation(between)
            inner.linear(layer.weight, layer.bias)
        context = getattr(block, "context_layer", None)
        steps.residual(inner, None if context is None else (context.weight, context.bias))
    steps.linear(net.final_layer.weight, net.final_layer.bias)
    return steps


def context_of(net: Any) -> int:
    """Returns the size of the context vectors that a MADE or a ResidualNet of either sees."""
    layer = getattr(net, "context_layer", None)
    return layer.in_features if layer is not None else getattr(net, "context_features", None) or 0


def spline_map(module: Any, name: str, *, reverse: bool = False) -> SplineMap:
    """Returns the spline of a layer; raises ConversionError for tails that are not linear."""
    bound = module.tail_bound
    if module.tails != "linear" or isinstance(bound, Tensor):
        got = "a bound for each column" if module.tails == "linear" else f"tails {module.tails}"
        refuse(name, module, f"expected linear tails beyond one bound; got {got}")
    return SplineMap(
        bins=bins_of(module), bound=float(bound), shares="floored",
        least_width=module.min_bin_width, least_height=module.min_bin_height,
        slopes="softplus", least_slope=module.min_derivative, reversed=reverse,
    )  # fmt: skip


def bins_of(module: Any) -> int:
    """Returns the number of a spline's bins."""
    widths = getattr(module, "unnormalized_widths", None)
    return int(module.num_bins if widths is None else widths.shape[-1])


def spline_rows(module: Any) -> tuple[Tensor, Tensor]:
    """Returns the outputs of a spline coupling's network in flowkd's order, and factors of them."""
    bins, columns, net = module.num_bins, len(module.transform_features), module.transform_net
    # Logits of widths and heights are divided by the root of the width of the network.
    hidden = getattr(net, "hidden_features", getattr(net, "hidden_channels", 1))
    shrunk = torch.full((2 * bins * columns,), 1 / math.sqrt(hidden), dtype=torch.float64)
    of_slopes = torch.ones((bins - 1) * columns, dtype=torch.float64)
    return by_parameter(columns, 3 * bins - 1), torch.cat([shrunk, of_slopes])


def spline_coupling(module: Any, steps: Steps, name: str, *, reverse: bool = False) -> list[Part]:
    """Returns a coupling of splines, with the splines of the columns that decide, if any."""
    kept, changed = module.identity_features, module.transform_features
    spline = spline_map(module, name, reverse=reverse)
    steps.arrange(*spline_rows(module))
    network = steps.network()
    layer = CouplingLayer(kept=len(kept), net=network.config, map=spline)
    order = torch.cat([kept, changed])
    coupled = around(order, Part(layer, within("conditioner", network)))
    own = module.unconditional_transform
    if own is None:
        return coupled
    # The columns that decide are mapped after they have decided.
    return [*coupled, *_own_splines(own, order, len(kept), f"{name}.unconditional_transform")]


def _own_splines(own: Any, order: Tensor, kept: int, name: str) -> list[Part]:
    part = spline_of_each(own, name)
    inner = Part(part.layer.model_copy(update={"channels": kept}), part.weights)
    return [permute(order), inner, permute(order.argsort())]


def spline_of_each(module: Any, name: str, *, reverse: bool = False) -> Part:
    """Returns splines with parameters of their own, one for each column."""
    if module.unnormalized_widths.dim() != 2:
        refuse(name, module, "expected splines of columns; got splines of pictures")
    values = [
        module.unnormalized_widths,
        module.unnormalized_heights,
        module.unnormalized_derivatives,
    ]
    network = constant(torch.cat([value.T.flatten() for value in values]))
    layer = ElementwiseLayer(net=network.config, map=spline_map(module, name, reverse=reverse))
    return Part(layer, within("conditioner", network))


def spline_autoregressive(
    module: Any, name: str, *, of_nflows: bool, inverse: bool = False
) -> Part:
    """Returns a masked autoregressive map of splines."""
    net = module.autoregressive_net
    steps = masked_steps(net, f"{name}.autoregressive_net", of_nflows=of_nflows)
    spline = spline_map(module, name)
    count = 3 * spline.bins - 1
    hidden = getattr(net, "hidden_features", None)
    if hidden is not None:
        refuse(f"{name}.autoregressive_net", net, "expected nflows' or normflows' own MADE")
    steps.arrange(by_parameter(steps.inputs, count))
    return autoregressive(steps, spline, inverse)


def affine_autoregressive(
    module: Any, name: str, *, scale: str, of_nflows: bool, inverse: bool = False
) -> Part:
    """Returns a masked autoregressive map of scales and shifts; both libraries put scales first."""
    net = module.autoregressive_net
    steps = masked_steps(net, f"{name}.autoregressive_net", of_nflows=of_nflows)
    rows = by_parameter(steps.inputs, 2)
    steps.arrange(torch.cat([rows[steps.inputs :], rows[: steps.inputs]]))
    affine = AffineMap.model_validate({"scale": scale, "least": 1e-3})
    return autoregressive(steps, affine, inverse)


def autoregressive(steps: Steps, mapped: AffineMap | SplineMap, inverse: bool) -> Part:
    """Returns a masked autoregressive map, or its inverse."""
    network = steps.network()
    layer = AutoregressiveLayer(net=network.config, map=mapped, inverse=inverse)
    return Part(layer, within("bijector.conditioner" if inverse else "conditioner", network))
