"""What a flow is conditioned on, and how it becomes the vectors that conditioners see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ContextSpec:
    """What a flow is conditioned on: nothing, a class, or a vector.

    Attributes:
        classes: Number of classes; 0 for none.
        size: Length of the vector; 0 for none.
    """

    classes: int = 0
    size: int = 0

    @property
    def width(self) -> int:
        """Size of the vector that conditioners see; 0 for none."""
        return self.classes or self.size

    def __str__(self) -> str:
        if self.classes:
            return f"int64 classes (B,) below {self.classes}"
        return f"float vectors (B, {self.size})" if self.size else "no context"

    def remedy(self, wanted: ContextSpec) -> str:
        """Returns how a flow's config gets another flow's context, in half a sentence."""
        if not wanted.width:
            return "set `context: ignore` in its flow"
        if not self.width:
            return "leave out `context: ignore`, and name a data set that has this context"
        return "name the data set of the other flow, or one with the same context"


class ContextUnits(nn.Module):
    """Maps context vectors from data units to order one: (context - mean) / scale.

    Mean and scale stay in float64 whatever the flow's dtype, and the difference is taken in
    float64: an offset that is large beside the spread costs no more than the context's own dtype
    has lost already.

    Args:
        size: Length of the vectors.
        mean: One number, or one for each value of the vector.
        scale: One positive number, or one for each.

    Raises:
        ValueError: A number of values other than 1 or `size`; a scale that is not positive.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, size: int, mean: float | Sequence[float], scale: float | Sequence[float]
    ) -> None:
        super().__init__()
        for name, given in (("mean", mean), ("scale", scale)):
            values = torch.tensor(given, dtype=torch.float64)
            if values.shape not in ((), (1,), (size,)):
                raise ValueError(
                    f"expected context_{name} as one number, or one for each of {size} values; "
                    f"got {len(values)}"
                )
            self.register_buffer(name, values.expand(size).clone())
        if not bool((self.scale > 0).all()):
            raise ValueError(f"expected a positive context_scale; got {scale}")

    def forward(self, context: Tensor) -> Tensor:
        """Maps vectors (B, size) in data units to standard ones, in float64."""
        return (context.double() - self.mean) / self.scale

    def inverse(self, standard: Tensor) -> Tensor:
        """Maps standard vectors (B, size) to data units, in float64."""
        return standard.double() * self.scale + self.mean

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Moved with the flow, but never cast with it.
        return super()._apply(lambda tensor: tensor.to(fn(tensor).device), recurse)
