"""Invertible maps with known log-determinants: one family a file."""

from flowkd.bijectors.autoregressive import Autoregressive, Inverted, Jacobi
from flowkd.bijectors.base import Bijector, Shape, State, Tap
from flowkd.bijectors.chain import Chain
from flowkd.bijectors.columns import Asinh, Log, Logit, Preprocess, Selected
from flowkd.bijectors.coupling import Coupling
from flowkd.bijectors.elementwise import ActNorm, Standardize
from flowkd.bijectors.leading import Leading
from flowkd.bijectors.linear import Invertible1x1, LinearMap
from flowkd.bijectors.reshape import Permute, Squeeze
from flowkd.bijectors.spline import RationalQuadratic
from flowkd.bijectors.univariate import Affine, Reversed, Univariate

__all__ = [
    "ActNorm",
    "Affine",
    "Asinh",
    "Autoregressive",
    "Bijector",
    "Chain",
    "Coupling",
    "Inverted",
    "Invertible1x1",
    "Jacobi",
    "Leading",
    "LinearMap",
    "Log",
    "Logit",
    "Permute",
    "Preprocess",
    "RationalQuadratic",
    "Reversed",
    "Selected",
    "Shape",
    "Squeeze",
    "Standardize",
    "State",
    "Tap",
    "Univariate",
]
