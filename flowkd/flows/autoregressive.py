"""Masked autoregressive flows for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from flowkd.bijectors import (
    ActNorm,
    Autoregressive,
    Bijector,
    Chain,
    Inverted,
    Jacobi,
)
from flowkd.columns import ColumnTransform
from flowkd.flows.build import build_flow, flow_of
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig, LevelSize, Positive, StepsConfig
from flowkd.flows.flow import Flow
from flowkd.flows.order import Mixing, Order, check_order, check_reversals, mix_of
from flowkd.nn import masked_mlp
from flowkd.nn.made import ActivationName

# Couplings of a student for each step of its share.
STEPS_FOR_ONE = 3
Direction = Literal["density", "sampling"]
Decoding = Literal["exact", "jacobi"]


class AutoregressiveConfig(StepsConfig):
    """Masked autoregressive flow for tables (D,): K steps of ActNorm, a linear map and such a map.

    One direction takes one pass of each step's network, the other goes column by column.
    Source: MAF, 2017, https://arxiv.org/abs/1705.07057; NSF, 2019,
    https://arxiv.org/abs/1906.04032; the other direction IAF, 2016,
    https://arxiv.org/abs/1606.04934.

    Attributes:
        depth: K, the number of steps; default 5.
        width: Units of each hidden layer of each step's network; default 128.
        hidden: Hidden layers of each network; default 2.
        blocks: Residual blocks of each network, of two layers each, after its first layer; default
            0, for a network without them, of `hidden` layers.
        activation: Between layers; default `relu`.
        transform: What is done to each column: `spline`, the default, or `affine`.
        mix: The map between steps: a learned `linear` one, the default, or `reverse`, which
            reverses the order of the columns.
        order: Of `mix: reverse`, the columns, numbered from 0, in the order of the first step: what
            it makes of each depends on those before it; the next step has the reverse order, and
            on. Default the last column first.
        direction: Which direction takes one pass: `density`, the default, for log_prob and
            training (MAF, NSF), or `sampling` (IAF).
        decoding: How the other direction is computed: `exact`, the default, column by column, or
            by `jacobi` iterations of all columns to a tolerance.
        tolerance: Of `jacobi`: no value of a step changes by more, in units of order one; default
            0.0001.
        groups: Of `jacobi`: parts of the columns that are found one after the other; default 1.
    """

    kind: Literal["autoregressive"] = "autoregressive"
    depth: int = Field(5, ge=1)
    width: int = Field(128, ge=1)
    hidden: int = Field(2, ge=1)
    blocks: int = Field(0, ge=0)
    activation: ActivationName = "relu"
    transform: Literal["affine", "spline"] = "spline"
    mix: Mixing = "linear"
    order: Order | None = None
    direction: Direction = "density"
    decoding: Decoding = "exact"
    tolerance: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    groups: Positive | None = None

    @model_validator(mode="after")
    def _fits(self) -> AutoregressiveConfig:
        shape = self.event_shape
        if shape is not None and (len(shape) != 1 or shape[0] < 2):
            raise ValueError(f"expected event_shape (D,) with D of at least 2; got {shape}")
        check_order(self.order, self.mix, shape)
        if self.blocks and self.hidden != 2:
            raise ValueError(
                f"expected blocks or hidden; got {self.blocks} and {self.hidden}: leave hidden out"
            )
        for key in ("tolerance", "groups"):
            if self.decoding == "exact" and getattr(self, key) is not None:
                raise ValueError(
                    f"expected decoding: jacobi, for {key}; got decoding: exact: leave {key} out"
                )
        return self

    @property
    def level_sizes(self) -> list[LevelSize]:
        """The size of the only level."""
        return [LevelSize(self.depth, self.width, self.width)]

    @property
    def level_inputs(self) -> list[tuple[int, int]]:
        """The columns that the only level sees, at one place."""
        assert self.event_shape is not None
        return [(math.prod(self.event_shape), 1)]

    def check_warm_start(self, kind: str, source: Self) -> None:
        """Raises ValueError for reversals that do not cancel."""
        check_reversals(kind, self.mix, self.order, self.depth, source.depth)

    def student(self, of_steps: bool = False) -> CouplingConfig:
        """Returns a coupling flow with splines, which is one pass both ways.

        It has three times as many steps, of which a student has its share: a coupling changes half
        of the columns. An order that was given is kept. docs/results/bench-onepass.md has what was
        compared.
        """
        shared = self.model_dump(include=set(FlowConfig.model_fields) - {"kind"})
        kept = ["bins", "bound"] if self.transform == "spline" else []
        kept += [] if self.order is None else ["mix", "order"]
        return CouplingConfig.model_validate(
            {
                **shared, **{key: getattr(self, key) for key in kept}, "transform": "spline",
                "depth": STEPS_FOR_ONE * self.depth, "width": self.width,
            }
        )  # fmt: skip

    def build_bijectors(self) -> dict[str, Bijector]:
        """Returns the steps."""
        assert self.event_shape is not None
        size = math.prod(self.event_shape)
        return {
            f"step{step}": Chain(
                {
                    "actnorm": ActNorm(size),
                    "mix": mix_of(step, size, self.mix, self.order),
                    "autoregressive": self._map(size),
                }
            )
            for step in range(self.depth)
        }

    def _map(self, size: int) -> Bijector:
        transform = self.univariate
        network = masked_mlp(
            size,
            size * transform.parameters,
            self.width,
            self.context_spec.width,
            hidden=self.blocks + 1 if self.blocks else self.hidden,
            residual=self.blocks > 0,
            activation=self.activation,
        )
        bijector = Autoregressive(network, transform)
        if self.decoding == "jacobi":
            tolerance = 1e-4 if self.tolerance is None else self.tolerance
            bijector.decoding = Jacobi(tolerance, self.groups or 1)
        return bijector if self.direction == "density" else Inverted(bijector)


def decoded_by_jacobi(flow: Flow) -> Flow | None:
    """Returns a copy of a flow whose samples are found by Jacobi iterations of all columns.

    None for a flow of another family, one that samples in one pass, or that has iterations already.
    """
    config = flow.config
    if not isinstance(config, AutoregressiveConfig):
        return None
    if config.direction == "sampling" or config.decoding == "jacobi":
        return None
    fixed = build_flow(config.model_copy(update={"decoding": "jacobi"}))
    fixed.load_state_dict(flow.state_dict())
    return fixed.to(next(flow.parameters()))


def autoregressive(
    columns: int,
    *,
    depth: int = 5,
    width: int = 128,
    hidden: int = 2,
    blocks: int = 0,
    activation: ActivationName = "relu",
    transform: Literal["affine", "spline"] = "spline",
    bins: int = 8,
    bound: float = 5.0,
    mix: Mixing = "linear",
    order: Sequence[int] | None = None,
    direction: Direction = "density",
    decoding: Decoding = "exact",
    tolerance: float | None = None,
    groups: int | None = None,
    classes: int = 0,
    context_size: int = 0,
    mean: float | tuple[float, ...] | None = None,
    scale: float | tuple[float, ...] | None = None,
    context_mean: float | tuple[float, ...] | None = None,
    context_scale: float | tuple[float, ...] | None = None,
    transforms: Sequence[ColumnTransform | str | None] | None = None,
    seed: int = 0,
) -> Flow:
    """Builds a new masked autoregressive flow for tables.

    Args:
        columns: D, the values in one row; at least 2.
        depth: K, the number of steps.
        width: Units of each hidden layer of each step's network.
        hidden: Hidden layers of each network.
        blocks: Residual blocks of each network after its first layer, in place of hidden layers.
        activation: Between layers.
        transform: What is done to each column: `spline` or `affine`.
        bins: Bins of each spline.
        bound: Within which a spline is no identity, on either side of 0.
        mix: `linear`, a learned map between steps, or `reverse`, the columns in reverse order.
        order: Of `reverse`, the columns, from 0, in the order of the first step; default the last
            one first.
        direction: Which direction takes one pass: `density` or `sampling`.
        decoding: How the other is computed: `exact`, column by column, or by `jacobi` iterations.
        tolerance: Of `jacobi`; default 0.0001.
        groups: Of `jacobi`: parts of the columns found one after the other; default 1.
        classes: Number of classes to condition on; 0 for none.
        context_size: Length of the vectors to condition on; 0 for none.
        mean: Subtracted from the data; default what `flowkd.fit` finds in them.
        scale: What the data are divided by then; default what `flowkd.fit` finds.
        context_mean: Subtracted from the vectors to condition on; default what `flowkd.fit` finds.
        context_scale: What they are divided by then; default what `flowkd.fit` finds.
        transforms: What each column goes through before: `log`, `logit` (between 0 and 1), or None.
        seed: Seed of the initial parameters.

    Raises:
        ValueError: Fewer than 2 columns, transforms of more or fewer, an order that is no
            permutation, or options that do not fit.

    Examples:
        >>> flow = flowkd.autoregressive(3, depth=2, width=8, transform="affine")
        >>> flow.one_pass
        {'log_prob': True, 'sample': False}
        >>> x = flow.sample(5)
        >>> flow.log_prob(x).shape
        torch.Size([5])

    Reference:
        MAF, 2017, https://arxiv.org/abs/1705.07057; Neural Spline Flows, 2019,
        https://arxiv.org/abs/1906.04032.
    """
    given = {key: value for key, value in locals().items() if key not in ("columns", "seed")}
    return flow_of(AutoregressiveConfig, {"event_shape": (columns,), **given}, seed=seed)
