"""Glow, a multi-scale flow for images."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from flowkd.bijectors import (
    ActNorm,
    Bijector,
    Chain,
    Coupling,
    Invertible1x1,
    Leading,
    Squeeze,
)
from flowkd.flows.build import flow_of
from flowkd.flows.family import LevelSize, PerLevel, StepsConfig
from flowkd.flows.flow import Flow
from flowkd.nn import ConvNet, SplitPrior


class GlowConfig(StepsConfig):
    """Multi-scale Glow for images (C, H, W): L levels of K steps.

    Depth, width and inner are the same in all levels, or given for each, the finest first.
    Source: Glow, 2018, https://arxiv.org/abs/1807.03039.

    Attributes:
        levels: L, each at half the height and width of the one before; default 3.
        depth: K, steps in a level; default 32.
        width: Channels of the first hidden layer of each coupling's network; default 512.
        inner: Channels of their second hidden layer; default the width.
    """

    # CPUs compute convolutions in blocks of so many channels: 79 take longer than 96.
    lanes: ClassVar[int] = 16
    # Most of the time is spent in the finest level, most of the parameters are in the last.
    widening: ClassVar[float] = 0.35

    kind: Literal["glow"] = "glow"
    levels: int = Field(3, ge=1)
    depth: PerLevel = 32
    width: PerLevel = 512
    inner: PerLevel | None = None

    @property
    def level_sizes(self) -> list[LevelSize]:
        """The size of each level, the finest first."""
        columns = (
            (value,) * self.levels if isinstance(value, int) else value
            for value in (self.depth, self.width, self.inner or self.width)
        )
        return [LevelSize(*sizes) for sizes in zip(*columns, strict=True)]

    @property
    def level_inputs(self) -> list[tuple[int, int]]:
        """How many channels each level sees, and at how many places."""
        assert self.event_shape is not None
        channels, height, width = self.event_shape
        return [
            (channels * 2 ** (level + 2), height * width // 4 ** (level + 1))
            for level in range(self.levels)
        ]

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

    def build_bijectors(self) -> dict[str, Bijector]:
        """Returns a squeeze and a level of steps, with its split prior, for each level."""
        assert self.event_shape is not None
        channels, total = self.event_shape[0], self.event_shape[0]
        context = self.context_spec.width
        body: dict[str, Bijector] = {}
        for level, size in enumerate(self.level_sizes):
            channels, total = 4 * channels, 4 * total
            steps: dict[str, Bijector] = {}
            for step in range(size.depth):
                kept = channels // 2
                outputs = self.univariate.parameters * (channels - kept)
                network = ConvNet(kept, outputs, size.width, context, size.inner)
                steps[f"step{step}"] = Chain(
                    {
                        "actnorm": ActNorm(channels),
                        "mix": Invertible1x1(channels),
                        "coupling": Coupling(network, kept, self.univariate),
                    }
                )
            going_on = channels
            if level < self.levels - 1:
                going_on = channels // 2
                prior = SplitPrior(going_on, 2 * (channels - going_on), context)
                steps["prior"] = Coupling(prior, going_on)
            chain = Chain(steps)
            body[f"squeeze{level}"] = Squeeze()
            body[f"level{level}"] = chain if channels == total else Leading(chain, channels)
            channels = going_on
        return body


def glow(
    event_shape: tuple[int, int, int],
    *,
    levels: int = 3,
    depth: PerLevel = 32,
    width: PerLevel = 512,
    inner: PerLevel | None = None,
    transform: Literal["affine", "spline"] = "affine",
    bins: int = 8,
    bound: float = 5.0,
    classes: int = 0,
    context_size: int = 0,
    mean: float | tuple[float, ...] | None = None,
    scale: float | tuple[float, ...] | None = None,
    context_mean: float | tuple[float, ...] | None = None,
    context_scale: float | tuple[float, ...] | None = None,
    seed: int = 0,
) -> Flow:
    """Builds a new Glow for images.

    Args:
        event_shape: (C, H, W) of one image, H and W divisible by 2^levels.
        levels: L.
        depth: K, steps in a level: one number, or one for each level, the finest first.
        width: Channels of the first hidden layer of each coupling's network.
        inner: Channels of their second hidden layer; default the width.
        transform: What a coupling applies: `affine`, or a monotone `spline`. The priors of levels
            are affine either way.
        bins: Of a spline.
        bound: Where a spline's tails begin, which are the identity.
        classes: Number of classes to condition on; 0 for none.
        context_size: Length of the vectors to condition on; 0 for none.
        mean: Subtracted from the data; default what `flowkd.fit` finds in them.
        scale: What the data are divided by then; default what `flowkd.fit` finds.
        context_mean: Subtracted from the vectors to condition on; default what `flowkd.fit` finds.
        context_scale: What they are divided by then; default what `flowkd.fit` finds.
        seed: Seed of the initial parameters.

    Raises:
        ValueError: Sizes that do not fit each other.

    Examples:
        >>> flow = flowkd.glow((3, 8, 8), levels=2, depth=2, width=16)
        >>> flow
        Flow(glow, (3, 8, 8), depth 2, width 16, levels 2; 20,532 parameters)
        >>> flow.sample(4).shape
        torch.Size([4, 3, 8, 8])

    Reference:
        Glow, 2018, https://arxiv.org/abs/1807.03039.
    """
    given = {key: value for key, value in locals().items() if key != "seed"}
    return flow_of(GlowConfig, given, seed=seed)
