"""Maps of single numbers, whose parameters a network gives: what a coupling applies to a value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from flowkd.bijectors.scales import LogScale, TanhScale

BY_TANH = TanhScale()


class Univariate(ABC):
    """An increasing map of each value by itself, whose inverse and slope are known.

    It holds nothing that is learnt. Its `repr` tells all that it is.
    """

    @property
    @abstractmethod
    def parameters(self) -> int:
        """P, the number of parameters for each value."""

    @abstractmethod
    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps values x to z, with log dz/dx.

        Args:
            x: (B, C, *rest).
            parameters: (B, P C, *rest): the first of each value, then the second of each, and on.

        Returns:
            z and log dz/dx, both of the shape of x.
        """

    @abstractmethod
    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps z back to x, with log dx/dz, in the form of `forward`."""


@dataclass(frozen=True)
class Affine(Univariate):
    """z = x exp(s) + t; parameters t and u, of which s is made.

    Source: RealNVP, 2017, https://arxiv.org/abs/1605.08803, section 3.2.

    Args:
        scale: From u to s; default s bounded by +-2, softly, by a tanh.
    """

    scale: LogScale = BY_TANH

    @property
    def parameters(self) -> int:
        """Two."""
        return 2

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the shift t and the log-scale s."""
        shift, raw = parameters.chunk(2, dim=1)
        return shift, self.scale(raw)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Scales, then shifts."""
        shift, log_scale = self.split(parameters)
        return torch.addcmul(shift, x, log_scale.exp()), log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Undoes the shift, then the scaling."""
        shift, log_scale = self.split(parameters)
        return (z - shift) * (-log_scale).exp(), -log_scale


@dataclass(frozen=True)
class Reversed(Univariate):
    """A map the other way round: its forward is the inverse of another's.

    Args:
        transform: The other.
    """

    transform: Univariate

    @property
    def parameters(self) -> int:
        """As many as the other's."""
        return self.transform.parameters

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Undoes the other."""
        return self.transform.inverse(x, parameters)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Applies the other."""
        return self.transform.forward(z, parameters)
