"""Networks of nflows over pictures: residual convolutions."""

from __future__ import annotations

import torch
from nflows.nn.nets import ConvResidualNet
from torch import Tensor

from flowkd.flows.converted.nets import ResidualPictureNet
from flowkd.foreign.convert.networks import Network, activation_of
from flowkd.foreign.convert.parts import Weights, refuse
from flowkd.nn.made import ActivationName


def residual_picture_network(
    net: ConvResidualNet, name: str, rows: Tensor, factors: Tensor | None = None, zeros: int = 0
) -> Network:
    """Returns a ConvResidualNet: 1x1, blocks of two 3x3, and 1x1 convolutions.

    Its context is taken to be the same at every place.

    Args:
        net: The network.
        name: Of it, for messages.
        rows: Its outputs in flowkd's order.
        factors: Of each of these; default 1.
        zeros: How many outputs of zero are added.
    """
    kinds: set[ActivationName] = set()
    weights: Weights = {}
    for number, block in enumerate(net.blocks):
        place = f"{name}.blocks.{number}"
        if block.use_batch_norm:
            refuse(place, block, "expected no batch normalisation within networks")
        kinds.add(activation_of(block.activation, place))
        if net.context_channels is not None:
            seen = block.context_layer
            weights |= _of_context(f"blocks.{number}.gate", seen.weight, seen.bias)
        for layer, conv in zip((1, 3), block.conv_layers, strict=True):
            weights |= _named(f"blocks.{number}.parts.{layer}", conv.weight, conv.bias)
    if len(kinds) > 1:
        refuse(name, net, f"expected one activation in all blocks; got {sorted(kinds)}")
    first, last = net.initial_layer, net.final_layer
    made = [last.weight[rows], last.bias[rows]]
    if factors is not None:
        made = [value * factors.view(-1, *[1] * (value.dim() - 1)) for value in made]
    made = [torch.cat([value, value.new_zeros(zeros, *value.shape[1:])]) for value in made]
    channels = first.in_channels - (net.context_channels or 0)
    config = ResidualPictureNet(
        inputs=channels, outputs=len(made[1]), width=first.out_channels,
        blocks=len(net.blocks), activation=next(iter(kinds), "relu"),
        context=net.context_channels is not None,
    )  # fmt: skip
    weights |= _named("first", first.weight[:, :channels], first.bias) | _named("last", *made)
    if config.context:
        seen = first.weight[:, channels:]
        weights |= _of_context("context", seen, torch.zeros_like(first.bias))
    return Network(config, weights)


def _of_context(prefix: str, weight: Tensor, bias: Tensor) -> Weights:
    found = {"weight": weight.flatten(1), "bias": bias}
    return {f"{prefix}.{key}": value.detach().double() for key, value in found.items()}


def _named(prefix: str, weight: Tensor, bias: Tensor) -> Weights:
    found = {"weight": weight, "bias": bias}
    return {f"{prefix}.conv.{key}": value.detach().double() for key, value in found.items()}
