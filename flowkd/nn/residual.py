"""Fully connected networks of residual blocks, for tables."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from flowkd.nn.conditioner import Conditioner, zeroed


class ResidualBlock(nn.Module):
    """Two linear layers, a ReLU before each, added to what they are given; the context gates them.

    h + W_2 relu(W_1 relu(h) + b_1) + b_2; with a context c, what is added is multiplied by
    sigmoid(V c + d), value by value.

    Args:
        width: Values in and out.
        inner: Values between.
        context: Size of the context vector; 0 for none.
    """

    def __init__(self, width: int, inner: int, context: int = 0) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, inner), nn.Linear(inner, width)
        self.gate = nn.Linear(context, width) if context else None

    def forward(self, hidden: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, width) to the same shape."""
        added = self.last(relu(self.first(relu(hidden))))
        if self.gate is not None:
            return torch.addcmul(hidden, added, self.gate(context).sigmoid())
        return hidden + added


class ResidualMLP(Conditioner):
    """A linear layer, residual blocks and a linear layer; the context is added to the first's.

    Source: Neural Spline Flows, 2019, https://arxiv.org/abs/1906.04032, appendix B.1.

    Args:
        inputs: Values in.
        outputs: Values out.
        width: Values after the first layer and after each block.
        blocks: How many blocks.
        context: Size of the context vector; 0 for none.
        inner: Values within a block; default the width.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: int,
        blocks: int = 2,
        context: int = 0,
        inner: int | None = None,
    ) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            ResidualBlock(width, inner or width, context) for _ in range(blocks)
        )
        self.last = zeroed(nn.Linear(width, outputs))
        self.context = nn.Linear(context, width, bias=False) if context else None

    def layers(self) -> Iterator[ResidualBlock]:
        """Yields the blocks."""
        for block in self.blocks:
            assert isinstance(block, ResidualBlock)
            yield block

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs) to (B, outputs)."""
        hidden = self.first(kept)
        if self.context is not None:
            hidden = hidden + self.context(context)
        for block in self.blocks:
            hidden = block(hidden, context)
        made: Tensor = self.last(hidden)
        return made
