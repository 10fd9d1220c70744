"""Configurations of flows, and the one function that builds a flow from any of them."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

import torch
from pydantic import Field, model_validator

from flowkd.bijectors import (
    ActNorm,
    AffineCoupling,
    Bijector,
    Chain,
    Invertible1x1,
    Leading,
    Permute,
    Squeeze,
    Standardize,
)
from flowkd.config import Config
from flowkd.flows.flow import ContextSpec, Flow
from flowkd.nn import MLP, ConvNet, SplitPrior


class _FlowConfig(Config):
    """What every flow has; shape, mean and scale, left out, are taken from the data set."""

    event_shape: tuple[int, ...] | None = None
    mean: float | tuple[float, ...] | None = None
    scale: float | tuple[float, ...] | None = None
    classes: Annotated[int, Field(ge=0)] | None = None
    context_size: Annotated[int, Field(ge=0)] | None = None

    @property
    def context(self) -> ContextSpec:
        """What the flow is conditioned on."""
        return ContextSpec(classes=self.classes or 0, size=self.context_size or 0)

    @model_validator(mode="after")
    def _one_context(self) -> _FlowConfig:
        if self.classes and self.context_size:
            raise ValueError("expected classes or context_size; got both")
        return self


Positive = Annotated[int, Field(ge=1)]
PerLevel = Positive | tuple[Positive, ...]


class LevelSize(NamedTuple):
    """The size of a level: its number of steps, and the hidden units of their networks."""

    depth: int
    width: int
    inner: int


class GlowConfig(_FlowConfig):
    """Multi-scale Glow for images (C, H, W): L levels of K steps, the depth.

    The networks' hidden layers have `width` channels, the second `inner` if that is given. Depth,
    width and inner are the same in all levels, or given for each, the finest first.
    Source: Glow, 2018, https://arxiv.org/abs/1807.03039.
    """

    kind: Literal["glow"] = "glow"
    levels: int = Field(3, ge=1)
    depth: PerLevel = 32
    width: PerLevel = 512
    inner: PerLevel | None = None

    @property
    def level_sizes(self) -> list[LevelSize]:
        """The size of each level."""
        columns = (
            (value,) * self.levels if isinstance(value, int) else value
            for value in (self.depth, self.width, self.inner or self.width)
        )
        return [LevelSize(*sizes) for sizes in zip(*columns, strict=True)]

    @model_validator(mode="after")
    def _fits(self) -> GlowConfig:
        for key in ("depth", "width", "inner"):
            value = getattr(self, key)
            if isinstance(value, tuple) and len(value) != self.levels:
                raise ValueError(
                    f"expected {key} as one number, or one for each of {self.levels} levels; "
                    f"got {list(value)}"
                )
        if self.event_shape is None:
            return self
        factor = 2**self.levels
        if len(self.event_shape) != 3 or any(side % factor for side in self.event_shape[1:]):
            raise ValueError(
                f"expected event_shape (C, H, W) with H and W divisible by 2^levels = {factor}; "
                f"got {self.event_shape}: use fewer levels or another crop"
            )
        return self


class CouplingConfig(_FlowConfig):
    """Coupling flow for tables (D,): K steps, `depth`, networks of `width` units.

    `inner` is the number of units of the networks' second hidden layer, by default the width.
    Source: RealNVP, 2017, https://arxiv.org/abs/1605.08803, with Glow's steps.
    """

    kind: Literal["coupling"] = "coupling"
    depth: int = Field(5, ge=1)
    width: int = Field(128, ge=1)
    inner: Positive | None = None
    mix: Literal["linear", "reverse"] = "linear"

    @property
    def level_sizes(self) -> list[LevelSize]:
        """The size of the only level."""
        return [LevelSize(self.depth, self.width, self.inner or self.width)]

    @model_validator(mode="after")
    def _fits(self) -> CouplingConfig:
        shape = self.event_shape
        if shape is not None and (len(shape) != 1 or shape[0] < 2):
            raise ValueError(f"expected event_shape (D,) with D of at least 2; got {shape}")
        return self


FlowConfig = Annotated[GlowConfig | CouplingConfig, Field(discriminator="kind")]


def build_flow(config: GlowConfig | CouplingConfig, *, seed: int = 0) -> Flow:
    """Builds a new flow; the same config and seed give the same parameters.

    Raises:
        ValueError: A config whose event_shape, mean or scale is still open.
    """
    missing = [key for key in ("event_shape", "mean", "scale") if getattr(config, key) is None]
    if missing or config.event_shape is None or config.mean is None or config.scale is None:
        raise ValueError(f"expected a complete flow config; got none for {', '.join(missing)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        preprocess = Standardize(config.mean, config.scale)
        body = _glow(config) if isinstance(config, GlowConfig) else _coupling(config)
        return Flow(Chain({"preprocess": preprocess, **body}), config.event_shape, config.context)


def count_parameters(flow: torch.nn.Module) -> int:
    """Returns the number of trainable values."""
    return sum(parameter.numel() for parameter in flow.parameters())


def _glow(config: GlowConfig) -> dict[str, Bijector]:
    assert config.event_shape is not None
    channels, total = config.event_shape[0], config.event_shape[0]
    context = config.context.width
    body: dict[str, Bijector] = {}
    for level, size in enumerate(config.level_sizes):
        channels, total = 4 * channels, 4 * total
        steps: dict[str, Bijector] = {}
        for step in range(size.depth):
            kept = channels // 2
            network = ConvNet(kept, 2 * (channels - kept), size.width, context, size.inner)
            steps[f"step{step}"] = Chain(
                {
                    "actnorm": ActNorm(channels),
                    "mix": Invertible1x1(channels),
                    "coupling": AffineCoupling(network, kept),
                }
            )
        going_on = channels
        if level < config.levels - 1:
            going_on = channels // 2
            prior = SplitPrior(going_on, 2 * (channels - going_on), context)
            steps["prior"] = AffineCoupling(prior, going_on)
        chain = Chain(steps)
        body[f"squeeze{level}"] = Squeeze()
        body[f"level{level}"] = chain if channels == total else Leading(chain, channels)
        channels = going_on
    return body


def _coupling(config: CouplingConfig) -> dict[str, Bijector]:
    assert config.event_shape is not None
    size = math.prod(config.event_shape)
    kept = size // 2
    return {
        f"step{step}": Chain(
            {
                "actnorm": ActNorm(size),
                "mix": Invertible1x1(size)
                if config.mix == "linear"
                else Permute(list(reversed(range(size)))),
                "coupling": AffineCoupling(
                    MLP(kept, 2 * (size - kept), config.width, config.context.width, config.inner),
                    kept,
                ),
            }
        )
        for step in range(config.depth)
    }
