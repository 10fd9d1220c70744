"""Elementwise maps: fixed statistics of the data, learned ActNorm, those that a context gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkd.bijectors.base import Bijector
from flowkd.bijectors.univariate import Univariate
from flowkd.nn import Conditioner


def per_channel(values: Tensor, like: Tensor) -> Tensor:
    """Returns values of shape (C,) or () so that they broadcast over (B, C, *rest)."""
    return values.view(-1, *[1] * (like.dim() - 2)) if values.dim() else values


class Standardize(Bijector):
    """Maps data units to order one: z = (x - mean) / scale, with fixed statistics.

    Args:
        mean: One number, or one for each of C channels.
        scale: One positive number, or one for each channel.

    Raises:
        ValueError: A scale that is not positive.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: float | Sequence[float], scale: float | Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64).float())
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64).float())
        if not bool((self.scale > 0).all()):
            raise ValueError(f"expected a positive scale; got {scale}")

    def _log_det(self, x: Tensor) -> Tensor:
        total = -self.scale.log().sum() * (math.prod(x.shape[1:]) // self.scale.numel())
        return total.to(x.dtype).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps data units to standard ones."""
        z = (x - per_channel(self.mean, x)) / per_channel(self.scale, x)
        return z, self._log_det(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps standard units back to data units."""
        x = z * per_channel(self.scale, z) + per_channel(self.mean, z)
        return x, -self._log_det(z)


class ActNorm(Bijector):
    """Shifts and scales each channel: z = (x + bias) exp(log_scale).

    `initialize` makes each channel's mean 0 and standard deviation 1 on the given batch.
    Source: Glow, 2018, https://arxiv.org/abs/1807.03039, section 3.1.

    Args:
        channels: Size of dimension 1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))

    def _log_det(self, x: Tensor) -> Tensor:
        return (self.log_scale.sum() * math.prod(x.shape[2:])).expand(x.shape[0])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Normalises each channel."""
        scale = self.log_scale.exp()
        shift = per_channel(self.bias * scale, x)
        return torch.addcmul(shift, x, per_channel(scale, x)), self._log_det(x)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes the normalisation."""
        scale = (-self.log_scale).exp()
        x = torch.addcmul(-per_channel(self.bias, z), z, per_channel(scale, z))
        return x, -self._log_det(z)

    @property
    def initialized(self) -> bool:
        """Whether it is another map than the identity, which a new one is."""
        return bool(self.bias.any() or self.log_scale.any())

    @torch.no_grad()
    def initialize(self, x: Tensor, context: Tensor | None = None) -> None:
        """Sets bias and scale from the channels' mean and standard deviation on x.

        Raises:
            ValueError: Fewer than two values in a channel.
        """
        over = [0, *range(2, x.dim())]
        if x.numel() // x.shape[1] < 2:
            raise ValueError("expected at least 2 values a channel to initialize ActNorm; got 1")
        self.bias.copy_(-x.mean(over))
        self.log_scale.copy_(-(x.std(over) + 1e-6).log())


class Elementwise(Bijector):
    """Transforms each value by itself: z_i = g(x_i; network(context)), with g a map of numbers.

    Args:
        conditioner: Maps a context (B, c) to the P parameters of each channel, (B, P C), the same
            at each place. Where there is no context it is given x, and may look at the number of
            rows alone.
        transform: g.
    """

    def __init__(self, conditioner: Conditioner, transform: Univariate) -> None:
        super().__init__()
        self.conditioner = conditioner
        self.transform = transform

    def extra_repr(self) -> str:
        """Returns what no part of it tells: the map of each value."""
        return f"transform={self.transform}"

    def _parameters_for(self, x: Tensor, context: Tensor | None) -> Tensor:
        made: Tensor = self.conditioner(x if context is None else context)
        ones = [1] * (x.dim() - 2)
        return made.view(*made.shape, *ones).expand(*made.shape, *x.shape[2:])

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Transforms each value."""
        z, log_slope = self.transform.forward(x, self._parameters_for(x, context))
        return z, log_slope.flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes the transform of each value."""
        x, log_slope = self.transform.inverse(z, self._parameters_for(z, context))
        return x, log_slope.flatten(1).sum(1)
