"""A coupling whose network is none of flowkd's."""

from __future__ import annotations

import torch
from torch import Tensor

from flowkd.bijectors import Chain, Coupling, Standardize
from flowkd.flows.flow import Flow
from flowkd.nn import Conditioner


class OwnNetwork(Conditioner):
    """Twice what it is given, scaled: the shift and scale of the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.7))

    def forward(self, kept: Tensor, context: Tensor | None = None) -> Tensor:
        return self.scale * torch.cat([kept, kept], dim=1)


def one_coupling(network: Conditioner) -> Flow:
    """Returns a flow of two columns whose only coupling has this network."""
    chain = Chain({"preprocess": Standardize(1.0, 2.0), "coupling": Coupling(network, 1)})
    return Flow(chain, (2,))
