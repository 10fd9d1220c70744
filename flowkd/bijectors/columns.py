"""Maps of columns that are bounded or have long tails, and what puts them before all else."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from flowkd.bijectors.base import Bijector
from flowkd.bijectors.chain import Chain
from flowkd.bijectors.elementwise import per_channel


class Log(Bijector):
    """Maps positive numbers to all numbers: z = log x.

    A row with a value that is not positive has log_det -inf, so that its density is 0.
    """

    @property
    def retraceable(self) -> bool:
        """No: a value that is not positive is not to be had back."""
        return False

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps positive numbers to all numbers."""
        inside = x > 0
        z = torch.where(inside, x, torch.ones_like(x)).log()
        return z, _log_det(-z, inside)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps all numbers to positive ones."""
        return z.exp(), z.flatten(1).sum(1)


class Logit(Bijector):
    """Maps the numbers between two bounds to all numbers: z = log((x - low) / (high - x)).

    A row with a value that is not between them has log_det -inf, so that its density is 0.

    Args:
        low: Lower bound, one number or one for each of C channels.
        high: Upper bound, in the same form.

    Raises:
        ValueError: A lower bound that is not below the upper one.
    """

    low: Tensor
    high: Tensor

    def __init__(self, low: float | Sequence[float] = 0.0, high: float | Sequence[float] = 1.0):
        super().__init__()
        self.register_buffer("low", torch.tensor(low, dtype=torch.float64).float())
        self.register_buffer("high", torch.tensor(high, dtype=torch.float64).float())
        if not bool((self.low < self.high).all()):
            raise ValueError(f"expected low below high in float32; got {low} and {high}")

    @property
    def retraceable(self) -> bool:
        """No: a value that is not between the bounds is not to be had back."""
        return False

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps the numbers between the bounds to all numbers."""
        low, high = (per_channel(end, x) for end in (self.low, self.high))
        inside = (x > low) & (x < high)
        x = torch.where(inside, x, (low + high) / 2)
        below, above = (x - low).log(), (high - x).log()
        return below - above, _log_det((high - low).log() - below - above, inside)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps all numbers between the bounds, and never onto one, where rounding would."""
        low, high = (per_channel(end, z) for end in (self.low, self.high))
        x = low + (high - low) * z.sigmoid()
        x = x.clamp(_just_inside(low, high), _just_inside(high, low))
        log_det = (high - low).log() + logsigmoid(z) + logsigmoid(-z)
        return x, log_det.flatten(1).sum(1)


class Asinh(Bijector):
    """Draws long tails in: z = asinh((x - center) / scale), linear near and logarithmic far out.

    Args:
        center: One number or one for each of C channels.
        scale: Above 0, in the same form.

    Raises:
        ValueError: A scale that is not above 0.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, center: float | Sequence[float] = 0.0, scale: float | Sequence[float] = 1.0):
        super().__init__()
        self.register_buffer("center", torch.tensor(center, dtype=torch.float64).float())
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64).float())
        if not bool((self.scale > 0).all()):
            raise ValueError(f"expected a scale above 0 in float32; got {scale}")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Draws the tails in."""
        center, scale = (per_channel(value, x) for value in (self.center, self.scale))
        z = ((x - center) / scale).asinh()
        return z, -(scale.log() + _log_cosh(z)).flatten(1).sum(1)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Lets them out."""
        center, scale = (per_channel(value, z) for value in (self.center, self.scale))
        return center + scale * z.sinh(), (scale.log() + _log_cosh(z)).flatten(1).sum(1)


class Selected(Bijector):
    """Applies a bijector to some channels; the others pass through.

    Args:
        bijector: Keeps the shape of what it maps.
        channels: Which channels, of dimension 1, it maps.
    """

    channels: Tensor

    def __init__(self, bijector: Bijector, channels: Sequence[int]) -> None:
        super().__init__()
        self.bijector = bijector
        self.register_buffer("channels", torch.tensor(channels, dtype=torch.int64))

    @property
    def retraceable(self) -> bool:
        """Whether the inner bijector is."""
        return self.bijector.retraceable

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps the selected channels forward."""
        z, log_det = self.bijector(x.index_select(1, self.channels), context)
        return x.index_copy(1, self.channels, z), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Maps the selected channels back."""
        x, log_det = self.bijector.inverse(z.index_select(1, self.channels), context)
        return z.index_copy(1, self.channels, x), log_det


class Preprocess(Bijector):
    """A chain that is one place: its inner states are no taps.

    Args:
        chain: What it does.
    """

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self.chain = chain

    @property
    def retraceable(self) -> bool:
        """Whether the chain is."""
        return self.chain.retraceable

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Applies the chain."""
        z, log_det = self.chain(x, context)
        return z, log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undoes the chain."""
        return self.chain.inverse(z, context)


def _log_cosh(z: Tensor) -> Tensor:
    """Returns log cosh z, also where cosh z is too large a number."""
    far = z.abs()
    return far + softplus(-2 * far) - math.log(2)


def _just_inside(end: Tensor, other: Tensor) -> Tensor:
    """Returns a number beside one end of a range, one or two representable ones into it.

    Not by `torch.nextafter`, which no graph that is exported can hold.
    """
    kind = torch.finfo(end.dtype)
    return end + kind.eps * end.abs().clamp(min=kind.tiny) * (other - end).sign()


def _log_det(log_slope: Tensor, inside: Tensor) -> Tensor:
    """Returns the sum over the event of the logarithms of slopes, -inf where a value is outside."""
    known = log_slope.flatten(1).sum(1)
    return torch.where(inside.flatten(1).all(1), known, torch.full_like(known, -torch.inf))
