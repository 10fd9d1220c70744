"""Networks over pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from flowkd.flows.converted.nets import PictureNet
from flowkd.foreign.convert.networks import Network, activation_of
from flowkd.foreign.convert.parts import refuse

SIZES = [(3, 3), (1, 1), (3, 3)]


def picture_network(net: Any, rows: Tensor, without_scales: bool, name: str) -> Network:
    """Returns the ConvNet2d of normflows: 3x3, 1x1 and 3x3 convolutions, with ReLU between.

    Args:
        net: The network; an ActNorm after a convolution becomes part of it.
        rows: Its outputs in flowkd's order.
        without_scales: Whether it gives shifts alone, and a log-scale of zero is wanted for each.
        name: Of the network, for messages.
    """
    found: list[list[Tensor]] = []
    for number, module in enumerate(net.net):
        place = f"{name}.net.{number}"
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach().double()
            bias = (
                torch.zeros(len(weight)).double()
                if module.bias is None
                else module.bias.detach().double()
            )
            found.append([weight, bias])
        elif hasattr(module, "actNorm"):
            constant = module.actNorm
            if float(constant.data_dep_init_done) == 0:
                refuse(
                    place,
                    module,
                    "it has not seen data yet, by which it sets itself: train it first",
                )
            scale = constant.s.detach().double().exp().flatten()
            weight, bias = found[-1]
            found[-1] = [
                weight * scale.view(-1, 1, 1, 1),
                bias * scale + constant.t.detach().double().flatten(),
            ]
        elif activation_of(module, place) != "relu":
            refuse(place, module, "expected ReLU, which is leaky=0.0")
    sizes = [tuple(weight.shape[2:]) for weight, _ in found]
    if sizes != SIZES:
        refuse(name, net, f"expected convolutions of {SIZES}; got {sizes}")
    weight, bias = found[2][0][rows], found[2][1][rows]
    if without_scales:
        weight, bias = (torch.cat([value, torch.zeros_like(value)]) for value in (weight, bias))
    found[2] = [weight, bias]
    weights = {
        f"{layer}.{kind}": value
        for layer, values in zip(("first", "middle", "last"), found, strict=True)
        for kind, value in zip(("weight", "bias"), values, strict=True)
    }
    first, middle, last = (values[0] for values in found)
    config = PictureNet(
        inputs=first.shape[1], outputs=last.shape[0], width=first.shape[0], inner=middle.shape[0]
    )
    return Network(config, weights)
