"""Briefly trained flows to begin from, and what to calibrate on."""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import Tensor

from flowkd.bijectors import Coupling
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.nn import MLP, ConvNet

GLOW = GlowConfig(event_shape=(1, 8, 8), mean=0.0, scale=1.0, levels=2, depth=4, width=16)
TABLE = CouplingConfig(event_shape=(5,), mean=0.0, scale=1.0, depth=4, width=16)
REVERSING = TABLE.model_copy(update={"mix": "reverse"})
CONFIGS: dict[str, FlowConfig] = {
    "glow": GLOW,
    "glow of classes": GLOW.model_copy(update={"classes": 3}),
    "table": TABLE,
    "table by splines": TABLE.model_copy(update={"transform": "spline"}),
    "table with a vector": TABLE.model_copy(
        update={"context_size": 2, "context_mean": (100.0, 0.0), "context_scale": (20.0, 1.0)}
    ),
}
ROWS = 300


def data(config: FlowConfig) -> tuple[Tensor, Tensor | None]:
    """Correlated, skewed data, so that there is something to learn; float64."""
    generator = torch.Generator().manual_seed(0)
    assert config.event_shape is not None
    shape = (ROWS, *config.event_shape)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64).cumsum(-1)
    context = None
    if config.classes:
        context = torch.arange(ROWS) % config.classes
    elif config.context_size:
        context = torch.randn(ROWS, config.context_size, generator=generator, dtype=torch.float64)
        context = context * torch.tensor(config.context_scale) + torch.tensor(config.context_mean)
    return 0.5 * noise + 0.1 * noise.square(), context


def taught(config: FlowConfig) -> Flow:
    """A copy of a teacher after some steps of maximum likelihood, float64."""
    return copy.deepcopy(_taught(config))


@cache
def _taught(config: FlowConfig) -> Flow:
    x, context = data(config)
    flow = new(config, seed=0)
    flow.initialize(x, context)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(15):
        optimizer.zero_grad()
        (-flow.log_prob(x, context).mean() / flow.dimensions).backward()
        optimizer.step()
    return flow.requires_grad_(False)


def new(config: FlowConfig, seed: int = 1) -> Flow:
    """A flow whose couplings are the identity, float64."""
    return build_flow(config, seed=seed).double()


def smaller(config: FlowConfig, **changes: float) -> FlowConfig:
    """A config with some fields changed."""
    return config.model_copy(update=changes)


def likelihood(flow: Flow, x: Tensor, context: Tensor | None) -> float:
    """Mean log-density, in nats per dimension."""
    with torch.no_grad():
        return flow.log_prob(x, context).mean().item() / flow.dimensions


def couplings(flow: Flow) -> list[Coupling]:
    """The couplings of a flow's steps, in order, without split priors."""
    modules = [module for module in flow.modules() if isinstance(module, Coupling)]
    return [module for module in modules if isinstance(module.conditioner, ConvNet | MLP)]
