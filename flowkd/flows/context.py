"""What a flow is conditioned on, and how it becomes the vectors that conditioners see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot


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

    def check(self, context: Tensor | None, rows: int) -> None:
        """Raises ValueError unless a context is one for each of some rows, of this kind."""
        if context is None and not self.width:
            return
        if context is None:
            raise ValueError(f"expected a context of {self}; got none")
        got = f"got {context.dtype} {tuple(context.shape)} for {rows} examples"
        if not self.width:
            raise ValueError(f"expected no context; {got}")
        if self.classes:
            if context.dtype != torch.int64 or context.shape != (rows,):
                raise ValueError(f"expected a context of {self}; {got}")
            if torch.compiler.is_compiling():
                return  # a graph has no branches: who compiles it looks at the values before
            low, high = torch.aminmax(context)
            if low < 0 or high >= self.classes:
                raise ValueError(f"expected {self}; got {int(low)}..{int(high)}")
        elif not context.is_floating_point() or context.shape != (rows, self.size):
            raise ValueError(f"expected a context of {self}; {got}")

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


def context_vectors(
    spec: ContextSpec, units: ContextUnits | None, context: Tensor | None, like: Tensor
) -> Tensor | None:
    """Returns a checked context as the vectors (B, width) that conditioners see.

    Classes become one-hot vectors; vectors are taken from data units to order one.

    Args:
        spec: Of the flow.
        units: Of the flow's vectors; None where these are of order one.
        context: Of each row, or None for a flow without.
        like: Of the dtype and on the device of the result.
    """
    if context is None:
        return None
    if spec.classes:
        return one_hot(context, spec.classes).to(like)
    return (context if units is None else units(context)).to(like)


def example_context(
    spec: ContextSpec,
    units: ContextUnits | None,
    rows: int,
    generator: torch.Generator | None = None,
) -> Tensor | None:
    """Returns a context for each of some rows, in data units: classes in turn, or vectors.

    Args:
        spec: Of the flow.
        units: Of the flow's vectors; None where these are of order one.
        rows: Number of rows.
        generator: Source of the vectors; default the same ones at every call.
    """
    if not spec.width:
        return None
    if spec.classes:
        return torch.arange(rows) % spec.classes
    generator = generator or torch.Generator().manual_seed(1)
    drawn = torch.randn(rows, spec.size, generator=generator).double()
    return drawn if units is None else units.inverse(drawn.to(units.mean.device))
