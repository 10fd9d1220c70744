"""The ordinary networks inside bijectors: they yield parameters and need no inverse."""

from flowkd.nn.conditioner import Conditioner, pointwise
from flowkd.nn.conv import ConvNet, SplitPrior
from flowkd.nn.mlp import MLP
from flowkd.nn.residual import ResidualMLP

__all__ = ["MLP", "Conditioner", "ConvNet", "ResidualMLP", "SplitPrior", "pointwise"]
