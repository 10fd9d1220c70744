"""The ordinary networks inside bijectors: they yield parameters and need no inverse."""

from flowkd.nn.conditioner import Conditioner, pointwise
from flowkd.nn.conv import ConvNet, SplitPrior
from flowkd.nn.mlp import MLP

__all__ = ["MLP", "Conditioner", "ConvNet", "SplitPrior", "pointwise"]
