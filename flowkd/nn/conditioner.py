"""What every network within a bijector promises, and what several are made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.functional import linear

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class Conditioner(nn.Module, ABC):
    """Maps what a coupling keeps, and a context vector, to the parameters of its transform.

    The last layer starts at zero, so that a new coupling is the identity.
    """

    @abstractmethod
    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        """Maps (B, A, *rest) and context (B, c) to (B, outputs, *rest)."""


def pointwise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    then: Callable[[Tensor], Tensor] = lambda value: value,
) -> Tensor:
    """Returns W x + b over the channels of each place, for x of (B, C, *rest), W of (O, C).

    At small sizes the matrix product takes a third of a 1x1 convolution's time. It has two
    dimensions, because torch chooses other kernels for more of them with gradients than without.

    Args:
        x: Of any layout; channels_last is not copied.
        weight: W.
        bias: b, (O,).
        then: Applied to the result before it is laid out as x: to change a view in place would
            copy all of its gradient.
    """
    places = x.movedim(1, -1)
    mixed = then(linear(places.flatten(0, -2), weight, bias))
    return mixed.view(*places.shape[:-1], -1).movedim(-1, 1)


def zeroed(layer: Layer) -> Layer:
    """Sets a layer to zero, in place, and returns it."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
