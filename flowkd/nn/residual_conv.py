"""Convolutional networks of residual blocks, for pictures."""

from __future__ import annotations

from torch import Tensor, nn

from flowkd.nn.conditioner import Conditioner, zeroed
from flowkd.nn.made import Activation, ActivationName, Residual, at_every_place


class Places(nn.Module):
    """A convolution that keeps height and width, and looks at no context.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        size: Of its kernel; odd.
    """

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, padding=size // 2)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H, W)."""
        made: Tensor = self.conv(x)
        return made


class ResidualConvNet(Conditioner):
    """A 1x1 convolution, residual blocks of two 3x3 convolutions, and a 1x1 convolution.

    A context adds to what the first makes, at every place alike, and gates the blocks.

    Source: Neural Spline Flows, 2019, https://arxiv.org/abs/1906.04032, appendix B.1.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        width: Channels between.
        blocks: How many blocks.
        activation: Before each of a block's convolutions.
        context: Size of the context vector; 0 for none.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        blocks: int = 2,
        activation: ActivationName = "relu",
        context: int = 0,
    ) -> None:
        super().__init__()
        self.first = Places(inputs, width, 1)
        self.context = nn.Linear(context, width) if context else None
        self.blocks = nn.ModuleList(
            Residual(
                [
                    part
                    for _ in range(2)
                    for part in (Activation(activation), Places(width, width, 3))
                ],
                (context, width) if context else None,
            )
            for _ in range(blocks)
        )
        self.last = Places(width, outputs, 1)
        zeroed(self.last.conv)

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs, H, W), and context (B, c), to (B, outputs, H, W)."""
        hidden = self.first(kept)
        if self.context is not None:
            hidden = hidden + at_every_place(self.context(context), hidden)
        for block in self.blocks:
            hidden = block(hidden, context)
        made: Tensor = self.last(hidden)
        return made
