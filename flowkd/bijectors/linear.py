"""Learned linear maps over the channels."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from flowkd.bijectors.base import Bijector
from flowkd.nn import pointwise


class LinearMap(Bijector):
    """A linear map over the channels, the same at each place: z = W x.

    Subclasses promise a `weight` that does not depend on x.
    """

    @abstractmethod
    def weight(self) -> Tensor:
        """Returns W, (C, C)."""

    @abstractmethod
    def absorb(self, matrix: Tensor) -> Tensor:
        """Becomes as much as it can of a (C, C) matrix: W diag(exp(s)) is the matrix afterwards.

        Returns:
            s, (C,): what is left for an ActNorm before it.

        Raises:
            ValueError: The matrix is singular, or not within reach of this map.
        """


class Invertible1x1(LinearMap):
    """Multiplies the channels at each place by a matrix W = P L (U + diag(s)).

    P is a fixed permutation, L unit lower and U strictly upper triangular, log|det W| = sum log|s|;
    W starts as a random rotation.
    Source: Glow, 2018, https://arxiv.org/abs/1807.03039, section 3.2.

    Args:
        channels: Size of dimension 1, of (B, C) or (B, C, H, W).
    """

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))
        self.lower = nn.Parameter(torch.empty(channels, channels))
        self.upper = nn.Parameter(torch.empty(channels, channels))
        self.log_diagonal = nn.Parameter(torch.empty(channels))
        self.register_buffer("permutation", torch.empty(channels, dtype=torch.int64))
        self.register_buffer("sign", torch.empty(channels))
        self.set_weight(rotation)

    @torch.no_grad()
    def set_weight(self, weight: Tensor) -> None:
        """Sets the parameters so that W is the given (C, C) matrix.

        Raises:
            ValueError: The matrix is singular or of another shape.
        """
        if weight.shape != self.lower.shape:
            raise ValueError(f"expected W of {tuple(self.lower.shape)}; got {tuple(weight.shape)}")
        permutation, lower, upper = torch.linalg.lu(weight.double())
        diagonal = upper.diagonal()
        if not bool((diagonal != 0).all()):
            raise ValueError("expected an invertible W; got a singular one")
        self.permutation.copy_(permutation.argmax(1))  # row i of P picks row permutation[i]
        self.sign.copy_(diagonal.sign())
        self.log_diagonal.copy_(diagonal.abs().log())
        self.lower.copy_(lower.tril(-1))
        self.upper.copy_(upper.triu(1))

    def _factors(self) -> tuple[Tensor, Tensor]:
        """Returns L without its diagonal of ones, and U with its own."""
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return self.lower.tril(-1), upper

    def weight(self) -> Tensor:
        """Returns W, (C, C)."""
        lower, upper = self._factors()
        return torch.addmm(upper, lower, upper)[self.permutation]

    def absorb(self, matrix: Tensor) -> Tensor:
        """Becomes the matrix itself."""
        self.set_weight(matrix)
        return torch.zeros_like(self.log_diagonal)

    def inverse_weight(self) -> Tensor:
        """Returns the inverse of W, (C, C), by two triangular solves."""
        lower, upper = self._factors()
        # No one_hot, which looks at the values and would wait for a GPU.
        every = torch.eye(len(lower), dtype=lower.dtype, device=lower.device)
        transposed = every[self.permutation].T
        half = torch.linalg.solve_triangular(lower, transposed, upper=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper, half, upper=True)

    def _log_det(self, x: Tensor) -> Tensor:
        return (self.log_diagonal.sum() * math.prod(x.shape[2:])).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mixes the channels by W."""
        return pointwise(x, self.weight()), self._log_det(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mixes the channels by the inverse of W."""
        return pointwise(z, self.inverse_weight()), -self._log_det(z)
