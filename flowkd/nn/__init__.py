"""The ordinary networks inside bijectors: they yield parameters and need no inverse."""

from flowkd.nn.conditioner import Conditioner, pointwise
from flowkd.nn.conv import ConvNet, SplitPrior
from flowkd.nn.made import MADE, masked_mlp
from flowkd.nn.mlp import MLP

__all__ = ["MADE", "MLP", "Conditioner", "ConvNet", "SplitPrior", "masked_mlp", "pointwise"]
