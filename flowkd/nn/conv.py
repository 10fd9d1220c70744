"""Convolutional networks, for pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu_

from flowkd.nn.conditioner import Conditioner, pointwise, zeroed

# With more values in, a 1x1 convolution takes less time than the matrix product.
PRODUCT_VALUES = 2**16


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
        self.last = _channels_last(zeroed(nn.Conv2d(inner, outputs, 3, padding=1)))
        self.context = nn.Linear(context, width, bias=False) if context else None

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        hidden = self.first(kept.contiguous(memory_format=torch.channels_last))
        if self.context is not None:
            hidden = hidden + self.context(context)[:, :, None, None]
        return self.last(self._middle(relu_(hidden)))

    def _middle(self, hidden: Tensor) -> Tensor:
        if hidden.is_cpu and not torch.compiler.is_compiling() and hidden.numel() > PRODUCT_VALUES:
            return relu_(self.middle(hidden))
        return pointwise(hidden, self.middle.weight.flatten(1), self.middle.bias, relu_)


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
        self.last = _channels_last(zeroed(nn.Conv2d(inputs, outputs, 3, padding=1)))
        self.context = zeroed(nn.Linear(context, outputs, bias=False)) if context else None

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        out = self.last(kept.contiguous(memory_format=torch.channels_last))
        return out if self.context is None else out + self.context(context)[:, :, None, None]


def _channels_last(layer: nn.Conv2d) -> nn.Conv2d:
    weight = layer.weight.detach().contiguous(memory_format=torch.channels_last)
    layer.weight = nn.Parameter(weight)
    return layer
