"""Masked autoregressive maps, and the inverse of any bijector as a bijector."""

from __future__ import annotations

import torch
from torch import Tensor

from flowkd.bijectors.base import Bijector
from flowkd.bijectors.univariate import Affine, Univariate
from flowkd.nn import MADE


class Autoregressive(Bijector):
    """Transforms each column by what a network makes of the columns before it.

    z_i = g(x_i; network(x_{<i})), with g a map of single numbers: forward in one pass of the
    network, inverse column by column. Wrapped in `Inverted` it is the other way round.
    Source: MAF, 2017, https://arxiv.org/abs/1705.07057; with a spline NSF, 2019,
    https://arxiv.org/abs/1906.04032.

    Args:
        conditioner: Maps x, (B, D), to P parameters of each column, (B, P D).
        transform: g; default affine.

    Attributes:
        bf16: Whether the conditioner computes in bfloat16; what it makes is in the dtype of x
            anyway.
    """

    def __init__(self, conditioner: MADE, transform: Univariate | None = None) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.transform = transform or Affine()
        self.bf16 = False

    def _parameters_for(self, x: Tensor, context: Tensor | None) -> Tensor:
        if not self.bf16:
            made: Tensor = self.conditioner(x, context)
            return made
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.conditioner(x, context).to(x.dtype)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transforms every column at once."""
        z, log_slope = self.transform.forward(x, self._parameters_for(x, context))
        return z, log_slope.sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes the transform, one level of columns after the other."""
        x = z
        for _ in range(int(self.conditioner.levels().max()) + 1):
            x, log_slope = self.transform.inverse(z, self._parameters_for(x, context))
        return x, log_slope.sum(1)


class Inverted(Bijector):
    """A bijector whose forward is another's inverse, and the other way round.

    Args:
        bijector: The other.
    """

    def __init__(self, bijector: Bijector) -> None:
        super().__init__()
        self.bijector = bijector

    @property
    def retraceable(self) -> bool:
        """Whether the other is."""
        return self.bijector.retraceable

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps as the other's inverse does."""
        return self.bijector.inverse(x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps as the other does."""
        z, log_det = self.bijector(z, context)
        return z, log_det
