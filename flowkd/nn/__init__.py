"""The ordinary networks inside bijectors: they yield parameters and need no inverse."""

from flowkd.nn.conditioner import Conditioner, pointwise
from flowkd.nn.conv import ConvNet, SplitPrior
from flowkd.nn.made import MADE, masked_mlp
from flowkd.nn.mlp import MLP
from flowkd.nn.residual import ResidualMLP

__all__ = [
    "MADE",
    "MLP",
    "Conditioner",
    "ConvNet",
    "ResidualMLP",
    "SplitPrior",
    "masked_mlp",
    "pointwise",
]
