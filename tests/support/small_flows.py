"""Flows far from their start, where couplings do nothing, and small enough for autograd."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowkd.columns import AsinhTransform, LogitTransform, LogTransform
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig

PICTURES = {"mean": 128.0, "scale": 256.0}
ENERGIES = {"context_mean": (500.0, -2.0), "context_scale": (300.0, 0.01)}
CONFIGS: dict[str, FlowConfig] = {
    "glow": GlowConfig(event_shape=(1, 4, 4), levels=2, depth=2, width=4, **PICTURES),
    "glow of classes": GlowConfig(
        event_shape=(1, 4, 4), levels=2, depth=1, width=4, classes=3, **PICTURES
    ),
    "glow of a vector": GlowConfig(
        event_shape=(2, 4, 4), levels=1, depth=2, width=4, context_size=2, **ENERGIES, **PICTURES
    ),
    "glow, narrowing": GlowConfig(
        event_shape=(1, 4, 4), levels=2, depth=1, width=(6, 5), inner=(3, 4), **PICTURES
    ),
    "coupling, narrowing": CouplingConfig(
        event_shape=(3,), mean=0.0, scale=0.5, depth=2, width=6, inner=4
    ),
    "coupling": CouplingConfig(
        event_shape=(5,), mean=(1.0, 2.0, 3.0, 4.0, 5.0), scale=2.0, depth=2, width=6
    ),
    "coupling, transformed": CouplingConfig(
        event_shape=(3,),
        mean=(1.0, 2.0, -1.0),
        scale=(0.5, 2.0, 0.75),
        transforms=(LogTransform(), AsinhTransform(scale=0.5), LogitTransform(low=-1.0, high=2.0)),
        depth=2,
        width=6,
    ),
    "coupling, reversing": CouplingConfig(
        event_shape=(4,), mean=0.0, scale=1.0, depth=3, width=6, mix="reverse", order=(2, 0, 3, 1)
    ),
    "coupling, splines": CouplingConfig(
        event_shape=(4,), mean=0.0, scale=0.5, depth=2, width=6, transform="spline", bins=4
    ),
    "coupling of a vector, splines, blocks": CouplingConfig(
        event_shape=(3,),
        mean=0.0,
        scale=0.5,
        depth=2,
        width=6,
        inner=4,
        blocks=2,
        transform="spline",
        bins=3,
        bound=3.0,
        context_size=2,
        **ENERGIES,
    ),
    "coupling of classes, blocks": CouplingConfig(
        event_shape=(3,), mean=0.0, scale=0.5, depth=2, width=5, blocks=1, classes=3
    ),
    "glow, splines": GlowConfig(
        event_shape=(1, 4, 4), levels=2, depth=1, width=4, transform="spline", bins=3, **PICTURES
    ),
    "coupling of classes": CouplingConfig(
        event_shape=(3,), mean=0.0, scale=0.5, depth=2, width=6, classes=3
    ),
    "autoregressive": AutoregressiveConfig(
        event_shape=(3,), mean=0.0, scale=0.5, depth=2, width=6, bins=3
    ),
    "autoregressive, affine": AutoregressiveConfig(
        event_shape=(4,),
        mean=0.0,
        scale=0.5,
        depth=2,
        width=8,
        transform="affine",
        activation="tanh",
        blocks=1,
        mix="reverse",
        order=(1, 3, 0, 2),
    ),
    "autoregressive, sampling": AutoregressiveConfig(
        event_shape=(3,),
        mean=0.0,
        scale=0.5,
        depth=2,
        width=6,
        transform="affine",
        direction="sampling",
    ),
    "autoregressive of classes": AutoregressiveConfig(
        event_shape=(3,), mean=0.0, scale=0.5, depth=1, width=6, bins=3, classes=3, hidden=1
    ),
    "autoregressive, sampling, of a vector": AutoregressiveConfig(
        event_shape=(3,),
        mean=0.0,
        scale=0.5,
        depth=2,
        width=6,
        bins=2,
        context_size=2,
        direction="sampling",
        **ENERGIES,
    ),
    "coupling of a vector": CouplingConfig(
        event_shape=(4,), mean=0.0, scale=0.5, depth=2, width=6, context_size=2, **ENERGIES
    ),
}


def randomise(module: nn.Module, seed: int = 0, by: float = 0.3) -> nn.Module:
    """Moves every parameter off its start, in place, and returns the module."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(by * noise.to(parameter))
    return module


def small_flow(name: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> Flow:
    """A randomised flow of CONFIGS."""
    flow = build_flow(CONFIGS[name], seed=seed).to(dtype)
    randomise(flow, seed)
    return flow


def with_infinite_samples(teacher: Flow, above: float) -> Flow:
    """A teacher whose sample is infinite where the first latent is above a value."""
    inverse = teacher.inverse

    def faulty(z: Tensor, context: Tensor | None = None) -> Tensor:
        x = inverse(z, context)
        x[z.flatten(1)[:, 0] > above] = math.inf
        return x

    teacher.inverse = faulty
    return teacher


def small_batch(
    flow: Flow, rows: int = 6, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """Data and context that a flow of CONFIGS takes."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, *flow.event_shape, generator=generator, dtype=torch.float64)
    x, _ = flow.preprocess.inverse(z)
    context = None
    if flow.context.classes:
        context = torch.arange(rows) % flow.context.classes
    elif flow.context.size:
        context = torch.randn(rows, flow.context.size, generator=generator, dtype=torch.float64)
        assert flow.context_units is not None
        context = flow.context_units.inverse(context).to(dtype)
    return x.to(dtype), context
