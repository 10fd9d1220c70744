"""The ordinary networks inside bijectors: they yield parameters and need no inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu_

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class Conditioner(nn.Module, ABC):
    """Maps what a coupling keeps, and a context vector, to the parameters of its transform.

    The last layer starts at zero, so that a new coupling is the identity.
    """

    @abstractmethod
    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, A, *rest) and context (B, c) to (B, outputs, *rest)."""


class ConvNet(Conditioner):
    """3x3, 1x1 and 3x3 convolutions with ReLU between; the context is added to the first's output.

    Source: Glow, 2018, https://arxiv.org/abs/1807.03039, section 3.3.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        width: Channels after the first.
        context: Size of the context vector; 0 for none.
        inner: Channels after the second; default as many as after the first.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, context: int = 0, inner: int | None = None
    ) -> None:
        super().__init__()
        inner = inner or width
        self.first = _channels_last(nn.Conv2d(inputs, width, 3, padding=1))
        self.middle = _channels_last(nn.Conv2d(width, inner, 1))
        self.last = _channels_last(_zeroed(nn.Conv2d(inner, outputs, 3, padding=1)))
        self.context = nn.Linear(context, width, bias=False) if context else None

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        hidden = self.first(kept.contiguous(memory_format=torch.channels_last))
        if self.context is not None:
            hidden = hidden + self.context(context)[:, :, None, None]
        middle = pointwise(relu_(hidden), self.middle.weight.flatten(1), self.middle.bias)
        return self.last(relu_(middle))


class SplitPrior(Conditioner):
    """One 3x3 convolution: mean and scale of factored-out channels given those that go on.

    Source: Glow, 2018, https://arxiv.org/abs/1807.03039, section 3.6 and its published code.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        context: Size of the context vector; 0 for none.
    """

    def __init__(self, inputs: int, outputs: int, context: int = 0) -> None:
        super().__init__()
        self.last = _channels_last(_zeroed(nn.Conv2d(inputs, outputs, 3, padding=1)))
        self.context = _zeroed(nn.Linear(context, outputs, bias=False)) if context else None

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        out = self.last(kept.contiguous(memory_format=torch.channels_last))
        return out if self.context is None else out + self.context(context)[:, :, None, None]


class MLP(Conditioner):
    """Three linear layers with ReLU between; the context is added to the first's output.

    Args:
        inputs: Values in.
        outputs: Values out.
        width: Values after the first.
        context: Size of the context vector; 0 for none.
        inner: Values after the second; default as many as after the first.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, context: int = 0, inner: int | None = None
    ) -> None:
        super().__init__()
        inner = inner or width
        self.first = nn.Linear(inputs, width)
        self.middle = nn.Linear(width, inner)
        self.last = _zeroed(nn.Linear(inner, outputs))
        self.context = nn.Linear(context, width, bias=False) if context else None

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs) to (B, outputs)."""
        hidden = self.first(kept)
        if self.context is not None:
            hidden = hidden + self.context(context)
        return self.last(relu_(self.middle(relu_(hidden))))


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns W x + b over the channels of each place, for x of (B, C, *rest), W of (O, C).

    At small sizes the matrix product takes a third of a 1x1 convolution's time. It has two
    dimensions, because torch chooses other kernels for more of them with gradients than without.
    """
    places = x.movedim(1, -1)
    mixed = linear(places.flatten(0, -2), weight, bias)
    return mixed.view(*places.shape[:-1], -1).movedim(-1, 1)


def _channels_last(layer: nn.Conv2d) -> nn.Conv2d:
    weight = layer.weight.detach().contiguous(memory_format=torch.channels_last)
    layer.weight = nn.Parameter(weight)
    return layer


def _zeroed(layer: Layer) -> Layer:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
