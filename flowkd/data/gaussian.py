"""A Gaussian of the data: the least that a flow has to be better than."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Beyond so many dimensions the covariance costs more than what it is compared with.
MAX_FULL_DIMENSIONS = 512
SMALLEST_SHRINKAGE = 1e-6
SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class Gaussian:
    """N(mean, diag(scale) C diag(scale)), with C a correlation matrix shrunk towards the identity.

    The context of a row plays no part: it is the density of x alone.

    Attributes:
        mean: (D,) float64.
        scale: Standard deviation of each value, (D,).
        factor: Lower triangular factor of C, (D, D); None for the identity.
    """

    mean: Tensor
    scale: Tensor
    factor: Tensor | None = None

    @classmethod
    def fit(cls, x: Tensor, *, full: bool) -> Gaussian:
        """Fits it to rows.

        C = (1 - a) S + a I, of the rows' own correlations S, with a that of the oracle
        approximating shrinkage: near 0 for many rows, near 1 for fewer than there are dimensions.
        Source: Shrinkage Algorithms for MMSE Covariance Estimation, 2010,
        https://arxiv.org/abs/0907.4698, equation 23.

        Args:
            x: (N, *event_shape), in data units; integers with their noise.
            full: Whether values may depend on each other; at most MAX_FULL_DIMENSIONS do.
        """
        rows = x.flatten(1).double()
        count, dimensions = rows.shape
        mean = rows.mean(0)
        scale = rows.std(0, correction=0).clamp_min(SMALLEST_SCALE)
        if not full or dimensions > MAX_FULL_DIMENSIONS or dimensions == 1:
            return cls(mean, scale)
        standard = (rows - mean) / scale
        correlation = standard.T @ standard / count
        squares = correlation.square().sum().item()
        trace = correlation.trace().item()
        above = (1 - 2 / dimensions) * squares + trace**2
        below = (count + 1 - 2 / dimensions) * (squares - trace**2 / dimensions)
        share = min(1.0, above / below) if below > 0 else 1.0
        share = max(share, SMALLEST_SHRINKAGE)
        shrunk = (1 - share) * correlation + share * torch.eye(dimensions, dtype=torch.float64)
        return cls(mean, scale, torch.linalg.cholesky(shrunk))

    def bits_of_rows(self, x: Tensor) -> Tensor:
        """Returns -log2 p / D of each of the rows (N, *event_shape), (N,) float64."""
        standard = (x.flatten(1).double() - self.mean) / self.scale
        nats = self.scale.log().sum()
        if self.factor is not None:
            standard = torch.linalg.solve_triangular(self.factor, standard.T, upper=False).T
            nats = nats + self.factor.diagonal().log().sum()
        nats = nats + 0.5 * (standard.square() + math.log(2 * math.pi)).sum(1)
        return nats / (len(self.mean) * math.log(2))

    def bits_per_dim(self, x: Tensor) -> float:
        """Returns -log2 p / D of rows (N, *event_shape), the mean over them."""
        return self.bits_of_rows(x).mean().item()
