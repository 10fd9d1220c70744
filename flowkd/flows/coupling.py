"""Coupling flows for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from flowkd.bijectors import ActNorm, Bijector, Chain, Coupling
from flowkd.columns import ColumnTransform
from flowkd.flows.build import flow_of
from flowkd.flows.family import LevelSize, Positive, StepsConfig
from flowkd.flows.flow import Flow
from flowkd.flows.order import Mixing, Order, check_order, check_reversals, mix_of
from flowkd.nn import MLP, Conditioner, ResidualMLP


class CouplingConfig(StepsConfig):
    """Coupling flow for tables (D,): K steps of ActNorm, a linear map and a coupling.

    Source: RealNVP, 2017, https://arxiv.org/abs/1605.08803, with Glow's steps; with splines
    Neural Spline Flows, 2019, https://arxiv.org/abs/1906.04032.

    Attributes:
        depth: K, the number of steps; default 5.
        width: Units of the first hidden layer of each coupling's network; default 128.
        inner: Units of their second hidden layer, or of the layer within each residual block;
            default the width.
        blocks: Residual blocks of each network, of two layers each; default 0, for a network of
            three layers without them.
        mix: The map between couplings: a learned `linear` one, the default, or `reverse`, which
            reverses the order of the columns.
        order: Of `mix: reverse`, the columns, numbered from 0, in the order of the first step, of
            which the first half decides how the others are mapped; the next step has the reverse
            order, and on. Default the last column first.
    """

    # Folded, networks of half the width know more of their teacher's than half of the steps do.
    depth_power: ClassVar[float] = 0.0

    kind: Literal["coupling"] = "coupling"
    depth: int = Field(5, ge=1)
    width: int = Field(128, ge=1)
    inner: Positive | None = None
    blocks: int = Field(0, ge=0)
    mix: Mixing = "linear"
    order: Order | None = None

    @property
    def level_sizes(self) -> list[LevelSize]:
        """The size of the only level."""
        return [LevelSize(self.depth, self.width, self.inner or self.width)]

    @property
    def level_inputs(self) -> list[tuple[int, int]]:
        """The columns that the only level sees, at one place."""
        assert self.event_shape is not None
        return [(math.prod(self.event_shape), 1)]

    @model_validator(mode="after")
    def _fits(self) -> CouplingConfig:
        shape = self.event_shape
        if shape is not None and (len(shape) != 1 or shape[0] < 2):
            raise ValueError(f"expected event_shape (D,) with D of at least 2; got {shape}")
        check_order(self.order, self.mix, shape)
        return self

    def check_warm_start(self, kind: str, source: Self) -> None:
        """Raises ValueError for reversals that do not cancel."""
        check_reversals(kind, self.mix, self.order, self.depth, source.depth)

    def build_bijectors(self) -> dict[str, Bijector]:
        """Returns the steps."""
        assert self.event_shape is not None
        size = math.prod(self.event_shape)
        kept = size // 2
        return {
            f"step{step}": Chain(
                {
                    "actnorm": ActNorm(size),
                    "mix": mix_of(step, size, self.mix, self.order),
                    "coupling": Coupling(self._network(kept, size - kept), kept, self.univariate),
                }
            )
            for step in range(self.depth)
        }

    def _network(self, kept: int, changed: int) -> Conditioner:
        outputs, context = self.univariate.parameters * changed, self.context_spec.width
        if self.blocks:
            return ResidualMLP(kept, outputs, self.width, self.blocks, context, self.inner)
        return MLP(kept, outputs, self.width, context, self.inner)


def coupling(
    columns: int,
    *,
    depth: int = 5,
    width: int = 128,
    inner: int | None = None,
    blocks: int = 0,
    mix: Mixing = "linear",
    order: Sequence[int] | None = None,
    transform: Literal["affine", "spline"] = "affine",
    bins: int = 8,
    bound: float = 5.0,
    classes: int = 0,
    context_size: int = 0,
    mean: float | tuple[float, ...] | None = None,
    scale: float | tuple[float, ...] | None = None,
    context_mean: float | tuple[float, ...] | None = None,
    context_scale: float | tuple[float, ...] | None = None,
    transforms: Sequence[ColumnTransform | str | None] | None = None,
    seed: int = 0,
) -> Flow:
    """Builds a new flow of couplings for tables: RealNVP, or with `transform="spline"` NSF-C.

    Args:
        columns: D, the values in one row; at least 2.
        depth: K, the number of steps.
        width: Units of the first hidden layer of each coupling's network.
        inner: Units of their second hidden layer, or within a residual block; default the width.
        blocks: Residual blocks of each network; 0 for a network of three layers without them.
        mix: `linear`, a learned map between couplings, or `reverse`, the columns in reverse order.
        order: Of `reverse`, the columns, from 0, in the order of the first step; default the last
            one first.
        transform: What a coupling applies: `affine`, or a monotone `spline`.
        bins: Of a spline.
        bound: Where a spline's tails begin, which are the identity.
        classes: Number of classes to condition on; 0 for none.
        context_size: Length of the vectors to condition on; 0 for none.
        mean: Subtracted from the data; default what `flowkd.fit` finds in them.
        scale: What the data are divided by then; default what `flowkd.fit` finds.
        context_mean: Subtracted from the vectors to condition on; default what `flowkd.fit` finds.
        context_scale: What they are divided by then; default what `flowkd.fit` finds.
        transforms: What each column goes through before: `log`, `logit` (between 0 and 1), `asinh`,
            or None.
        seed: Seed of the initial parameters.

    Raises:
        ValueError: Fewer than 2 columns, transforms of more or fewer, an order that is no
            permutation, or a spline of one bin.

    Examples:
        >>> flow = flowkd.coupling(3, depth=2, width=8)
        >>> flow
        Flow(coupling, (3,), depth 2, width 8; 302 parameters)
        >>> x = flow.sample(5)
        >>> flow.log_prob(x).shape
        torch.Size([5])
        >>> flowkd.coupling(3, depth=2, width=8, transform="spline", bins=4)
        Flow(coupling, (3,), depth 2, width 8, transform spline, bins 4; 626 parameters)

    Reference:
        RealNVP, 2017, https://arxiv.org/abs/1605.08803, with the steps of Glow; Neural Spline
        Flows, 2019, https://arxiv.org/abs/1906.04032.
    """
    given = {key: value for key, value in locals().items() if key not in ("columns", "seed")}
    return flow_of(CouplingConfig, {"event_shape": (columns,), **given}, seed=seed)
