"""Maps of single numbers, whose parameters a network gives: what a coupling applies to a value."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Univariate(ABC):
    """An increasing map of each value by itself, whose inverse and slope are known.

    Attributes:
        parameters: P, the number of parameters for each value.
    """

    parameters: int

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


class Affine(Univariate):
    """z = x exp(s) + t, with s bounded by +-2, softly, by a tanh; parameters t and s.

    Source: RealNVP, 2017, https://arxiv.org/abs/1605.08803, section 3.2.
    """

    BOUND = 2.0
    parameters = 2

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the shift t and the log-scale s."""
        shift, raw = parameters.chunk(2, dim=1)
        return shift, self.BOUND * torch.tanh(raw / self.BOUND)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Scales, then shifts."""
        shift, log_scale = self.split(parameters)
        return torch.addcmul(shift, x, log_scale.exp()), log_scale

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Undoes the shift, then the scaling."""
        shift, log_scale = self.split(parameters)
        return (z - shift) * (-log_scale).exp(), -log_scale
