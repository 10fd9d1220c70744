"""Rational-quadratic splines: increasing maps of single numbers, in closed form both ways."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from flowkd.bijectors.scales import softly_clipped
from flowkd.bijectors.univariate import Univariate


@dataclass(frozen=True)
class FlooredShares:
    """Shares of the bins: a softmax, then no less than a floor: least + (1 - K least) softmax(u).

    Attributes:
        width: Least share of a bin's width in the whole.
        height: Least share of a bin's height.
    """

    width: float = 1e-3
    height: float = 1e-3

    def check(self, bins: int) -> None:
        """Raises ValueError for floors that leave nothing to share."""
        for name in ("width", "height"):
            least = getattr(self, name)
            if not 0 < least * bins < 1:
                raise ValueError(
                    f"expected a least share of each bin's {name} above 0 and below 1 / bins, "
                    f"{1 / bins:g}; got {least}"
                )

    def __call__(self, raw: Tensor) -> Tensor:
        """Maps (B, 2, K, C, *rest), widths then heights, to shares of the same shape."""
        bins, shares = raw.shape[2], raw.softmax(2)
        if self.width == self.height:
            return shares * (1 - bins * self.width) + self.width
        least = raw.new_tensor([self.width, self.height]).view(2, *[1] * (raw.dim() - 2))
        return torch.addcmul(least, shares, 1 - bins * least)


@dataclass(frozen=True)
class ClippedShares:
    """Shares of the bins: a softmax of logits that are softly clipped.

    Attributes:
        least: How many times smaller than another bin one can be, at most.
    """

    least: float = 1e-3

    def check(self, bins: int) -> None:
        """Raises ValueError for a ratio that is none."""
        _check_ratio(self.least)

    def __call__(self, raw: Tensor) -> Tensor:
        """Maps (B, 2, K, C, *rest) to shares of the same shape."""
        return softly_clipped(raw, -math.log(self.least) / 2).softmax(2)


@dataclass(frozen=True)
class ExpSlopes:
    """Slopes at inner knots: exp(u), with u softly clipped; 1 for u = 0.

    Attributes:
        least: The least slope; the largest is 1 / least.
    """

    least: float = 1e-3

    def check(self) -> None:
        """Raises ValueError for a bound that is none."""
        _check_ratio(self.least)

    def __call__(self, raw: Tensor) -> Tensor:
        """Maps parameters to slopes of the same shape."""
        return softly_clipped(raw, -math.log(self.least)).exp()


@dataclass(frozen=True)
class SoftplusSlopes:
    """Slopes at inner knots: least + log(1 + exp(u)), which is not 1 for u = 0.

    Attributes:
        least: The least slope.
    """

    least: float = 1e-3

    def check(self) -> None:
        """Raises ValueError for a bound that is none."""
        _check_ratio(self.least)

    def __call__(self, raw: Tensor) -> Tensor:
        """Maps parameters to slopes of the same shape."""
        return softplus(raw) + self.least


def _check_ratio(least: float) -> None:
    if not 0 < least < 1:
        raise ValueError(f"expected a least slope or share above 0 and below 1; got {least}")


class _Bin(NamedTuple):
    """Each value's bin: its lower left corner, its size, height over width, slopes at both ends."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor
    first: Tensor
    last: Tensor


@dataclass(frozen=True)
class RationalQuadratic(Univariate):
    """A monotone spline of K rational quadratics on [-bound, bound], and the identity outside.

    The slope is continuous, 1 at both ends. Parameters of each value: K logits of widths, K of
    heights, and one for the slope at each of the K - 1 inner knots. All zero they give the
    identity, exactly in `forward`. Values and gradients are finite for finite parameters.

    nflows and normflows have the default shares with SoftplusSlopes, whose zeros are not the
    identity; zuko has ClippedShares with the default slopes.

    Source: Neural Spline Flows, 2019, https://arxiv.org/abs/1906.04032, section 3.1.

    Args:
        bins: K, at least 2.
        bound: Above 0.
        shares: From logits to the shares of the bins in width and height.
        slopes: From parameters to the slopes at inner knots.

    Raises:
        ValueError: Fewer than 2 bins, another bound, or least shares too large for the bins.
    """

    bins: int = 8
    bound: float = 5.0
    shares: FlooredShares | ClippedShares = FlooredShares()
    slopes: ExpSlopes | SoftplusSlopes = ExpSlopes()

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ValueError(f"expected a spline of at least 2 bins; got {self.bins}")
        if not 0 < self.bound < math.inf:
            raise ValueError(f"expected a spline's bound above 0; got {self.bound}")
        self.shares.check(self.bins)
        self.slopes.check()

    @property
    def parameters(self) -> int:
        """Returns 3 K - 1."""
        return 3 * self.bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Maps x to z within the bound."""
        inside = x.clamp(-self.bound, self.bound)
        at = self._bin(inside, parameters, axis=0)
        along = inside - at.x
        t = along / at.width
        tt = t * (1 - t)
        steeper = at.first - at.slope
        bend = at.first + at.last - 2 * at.slope
        below = torch.addcmul(at.slope, bend, tt)
        # Terms beside x that are 0 where the map is the identity, so that it is so exactly.
        curved = at.height * tt * torch.addcmul(steeper, bend, t, value=-1) / below
        z = inside + (at.y - at.x) + torch.addcmul(curved, along, at.slope - 1)
        log_slope = (_between(at, t) * (at.slope / below).square()).log()
        return self._within(x, z, log_slope)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Solves the quadratic equation of the bin that z is in.

        Its discriminant is written as a sum of squares, and a difference of nearly equal numbers as
        a quotient, so that rounding makes neither negative nor 0.
        """
        inside = z.clamp(-self.bound, self.bound)
        at = self._bin(inside, parameters, axis=1)
        up = inside - at.y
        share = up / at.height
        rest = 1 - share
        difference = at.first * rest - at.last * share
        twice = 2 * at.slope * share
        product = 2 * at.slope * rest * twice
        root = torch.addcmul(product, difference, difference).sqrt()
        larger = root + difference.abs()
        sum_ = torch.where(difference < 0, product / larger, larger)
        t = twice / (sum_ + twice)
        below = torch.addcmul(at.slope, at.first + at.last - 2 * at.slope, t * (1 - t))
        x = torch.addcmul(at.x, t, at.width)
        return self._within(z, x, (below / (at.slope * root)).log())

    def _bin(self, value: Tensor, parameters: Tensor, axis: int) -> _Bin:
        """Returns the bin of each value: of x for axis 0, of z for axis 1."""
        bins, bound = self.bins, self.bound
        raw = parameters.unflatten(1, (self.parameters, -1))
        of_shares, of_slopes = raw.split([2 * bins, bins - 1], 1)  # gradients in one copy
        shares = self.shares(of_shares.unflatten(1, (2, bins)))
        inner = (2 * bound * shares[:, :, :-1]).cumsum(2) - bound
        slopes = self.slopes(of_slopes)
        low, high, one = (torch.full_like(value, fill)[:, None] for fill in (-bound, bound, 1.0))
        knots = torch.cat([low, inner[:, 0], high, low, inner[:, 1], high, one, slopes, one], dim=1)
        number = (value[:, None] >= inner[:, axis]).sum(1, keepdim=True)
        starts = (0, bins + 1, 2 * bins + 2)
        index = torch.cat([number + start + side for start in starts for side in (0, 1)], dim=1)
        x, x_next, y, y_next, first, last = knots.gather(1, index).unbind(1)
        width, height = x_next - x, y_next - y
        return _Bin(x, y, width, height, height / width, first, last)

    def _within(self, given: Tensor, made: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what was made where the given value is within the bound, else itself."""
        within = given.abs() <= self.bound
        return torch.where(within, made, given), torch.where(within, log_slope, 0.0)


def _between(at: _Bin, t: Tensor) -> Tensor:
    """Returns (1 - t)^2 first + 2 t (1 - t) slope + t^2 last, exact where the three are equal."""
    start, end = torch.lerp(at.first, at.slope, t), torch.lerp(at.slope, at.last, t)
    return torch.lerp(start, end, t)
