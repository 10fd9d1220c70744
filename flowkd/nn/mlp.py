"""Fully connected networks, for tables."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu_

from flowkd.nn.conditioner import Conditioner, zeroed


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
        self.last = zeroed(nn.Linear(inner, outputs))
        self.context = nn.Linear(context, width, bias=False) if context else None

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, inputs) to (B, outputs)."""
        hidden = self.first(kept)
        if self.context is not None:
            hidden = hidden + self.context(context)
        return self.last(relu_(self.middle(relu_(hidden))))
