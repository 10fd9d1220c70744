"""Networks that were tried in the place of the student's, and did not earn a place in flowkd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from flowkd.bijectors import AffineCoupling
from flowkd.flows.flow import Flow
from flowkd.nn import Conditioner, ConvNet


class Extended(Conditioner):
    """A ConvNet with something more on its second hidden layer, which begins as the identity."""

    def __init__(self, net: ConvNet, extra: nn.Module) -> None:
        super().__init__()
        self.first, self.middle, self.last = net.first, net.middle, net.last
        self.extra = extra

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        return self.last(self.extra(relu(self.middle(relu(self.first(kept))))))


class Gate(nn.Module):
    """h 2 sigmoid(G h)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor) -> Tensor:
        return h * 2 * torch.sigmoid(self.gate(h))


class Residual(nn.Module):
    """h + B relu(A h)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.into = nn.Conv2d(channels, channels, 1)
        self.back = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor) -> Tensor:
        return h + self.back(relu(self.into(h)))


class Attention(nn.Module):
    """h + O attention(Q h, K h, V h) over all places, one head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.into = nn.Conv2d(channels, 3 * channels, 1)
        self.back = _zero(nn.Conv2d(channels, channels, 1))

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = (part.flatten(2).mT for part in self.into(h).chunk(3, dim=1))
        seen = scaled_dot_product_attention(q, k, v)
        return h + self.back(seen.mT.reshape(h.shape))


class Separable(Conditioner):
    """3x3 convolutions of single channels, and products over the channels between them."""

    def __init__(self, inputs: int, outputs: int, width: int, spread: int = 2) -> None:
        super().__init__()
        self.spread = nn.Conv2d(inputs, spread * inputs, 3, padding=1, groups=inputs)
        self.first = nn.Conv2d(spread * inputs, width, 1)
        self.middle = nn.Conv2d(width, width, 1)
        self.last = _zero(nn.Conv2d(width, outputs, 1))
        self.gather = nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs)
        nn.init.dirac_(self.gather.weight, groups=outputs)

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        hidden = relu(self.middle(relu(self.first(self.spread(kept)))))
        return self.gather(self.last(hidden))


def extended(extra: Callable[[int], nn.Module]) -> Callable[[Flow], None]:
    """Returns what gives every network of a flow something more."""

    def change(flow: Flow) -> None:
        for coupling in networks(flow):
            net = coupling.conditioner
            coupling.conditioner = Extended(net, extra(net.last.in_channels))

    return change


def separable(flow: Flow) -> None:
    """Makes every network of a flow separable, of twice the width, and new."""
    for coupling in networks(flow):
        net = coupling.conditioner
        coupling.conditioner = Separable(
            net.first.in_channels, net.last.out_channels, 2 * net.last.in_channels
        )


def networks(flow: Flow) -> list[AffineCoupling]:
    """Returns a flow's couplings that have a ConvNet, in order."""
    return [
        module
        for module in flow.modules()
        if isinstance(module, AffineCoupling) and isinstance(module.conditioner, ConvNet)
    ]


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
