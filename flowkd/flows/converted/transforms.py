"""The maps of single numbers within converted layers, as written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from flowkd.bijectors.scales import (
    ClippedScale,
    ExpScale,
    LogScale,
    SigmoidScale,
    SoftplusScale,
)
from flowkd.bijectors.spline import (
    ClippedShares,
    ExpSlopes,
    FlooredShares,
    RationalQuadratic,
    SoftplusSlopes,
)
from flowkd.bijectors.univariate import Affine, Reversed, Univariate
from flowkd.config import Config


class AffineMap(Config):
    """A scale and a shift.

    Attributes:
        scale: How the scale is made of a parameter u: exp(u); `clipped`, exp(u) with u softly
            clipped; softplus(u) + least; sigmoid(u + 2) + least; or 1 / sigmoid(u + 2).
        least: The least scale, where it has one.
        reversed: Whether the shift is taken off first, and then the scale.
    """

    kind: Literal["affine"] = "affine"
    scale: Literal["exp", "clipped", "softplus", "sigmoid", "inverse_sigmoid"]
    least: float = Field(0.0, ge=0)
    reversed: bool = False

    def build(self) -> Univariate:
        """Returns the map."""
        affine = Affine(self._scale())
        return Reversed(affine) if self.reversed else affine

    def _scale(self) -> LogScale:
        if self.scale == "exp":
            return ExpScale()
        if self.scale == "clipped":
            return ClippedScale(self.least)
        if self.scale == "softplus":
            return SoftplusScale(self.least)
        return SigmoidScale(least=self.least, over=self.scale == "inverse_sigmoid")


class SplineMap(Config):
    """A monotone rational-quadratic spline with linear tails.

    Attributes:
        bins: Number of bins.
        bound: It is the identity beyond.
        shares: How bins are made of parameters: `floored`, a softmax and a least share; `clipped`,
            a softmax of softly clipped parameters.
        least_width: Least share of a bin's width; of `clipped`, the least ratio of two.
        least_height: Least share of a bin's height; the same.
        slopes: How slopes at knots are made of parameters: exp(u) with u softly clipped, or
            softplus(u) + least.
        least_slope: The least slope.
        reversed: Whether its inverse is meant.
    """

    kind: Literal["spline"] = "spline"
    bins: int = Field(ge=2)
    bound: float = Field(gt=0)
    shares: Literal["floored", "clipped"]
    least_width: float = Field(gt=0)
    least_height: float = Field(gt=0)
    slopes: Literal["exp", "softplus"]
    least_slope: float = Field(gt=0)
    reversed: bool = False

    def build(self) -> Univariate:
        """Returns the map."""
        spline = RationalQuadratic(
            bins=self.bins,
            bound=self.bound,
            shares=FlooredShares(self.least_width, self.least_height)
            if self.shares == "floored"
            else ClippedShares(self.least_width),
            slopes=(ExpSlopes if self.slopes == "exp" else SoftplusSlopes)(self.least_slope),
        )
        return Reversed(spline) if self.reversed else spline


Map = AffineMap | SplineMap
AnyMap = Annotated[Map, Field(discriminator="kind")]
