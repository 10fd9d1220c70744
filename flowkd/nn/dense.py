"""Fully connected networks of any depth, for what was trained with other libraries."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkd.nn.conditioner import Conditioner
from flowkd.nn.made import Activation, ActivationName


class Layer(nn.Module):
    """A linear layer; a context adds to what it makes, as if it were more of its inputs.

    Args:
        inputs: Values in.
        outputs: Values out.
        context: Size of the context vector; 0 for none.
        activation: Of what the context adds; default none.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int = 0,
        *,
        activation: ActivationName | None = None,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.context = nn.Linear(context, outputs) if context else None
        self.activation = Activation(activation) if activation else None

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, I) to (B, O)."""
        made: Tensor = self.linear(x)
        if self.context is None:
            return made
        added = self.context(context)
        return made + (added if self.activation is None else self.activation(added))


class Dense(Conditioner):
    """Layers one after the other.

    Args:
        parts: Layer, Activation or Residual, in order.
    """

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, I) to (B, O)."""
        for part in self.parts:
            kept = part(kept, context)
        return kept


class Constant(Conditioner):
    """The same parameters for every row.

    Args:
        outputs: Values out.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.zeros(outputs))

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, I) to (B, O)."""
        return self.values.expand(kept.shape[0], -1)


class Beside(Conditioner):
    """Networks of the same inputs, their outputs one after the other.

    Args:
        networks: In the order of their outputs.
    """

    def __init__(self, networks: Sequence[Conditioner]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, I) to the sum of the networks' (B, O)."""
        return torch.cat([network(kept, context) for network in self.networks], dim=1)
