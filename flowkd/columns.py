"""What is known of a table's column, as it is written in YAML: its step, and its transform."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from flowkd.config import Config


class ColumnStep(Config):
    """The grid of a column's values: each stands for all numbers up to the next one.

    Attributes:
        width: Width of a step.
        origin: A value of the grid; default 0.
    """

    width: float = Field(gt=0)
    origin: float = 0.0


ColumnSteps = Sequence[ColumnStep | None]


class LogTransform(Config):
    """The logarithm of a positive column, for values of many magnitudes."""

    kind: Literal["log"] = "log"

    @property
    def shown(self) -> str:
        """What it is, in a word."""
        return self.kind

    @property
    def low(self) -> float:
        """Every value lies above it."""
        return 0.0

    @property
    def high(self) -> float:
        """Every value lies below it."""
        return float("inf")


class LogitTransform(Config):
    """The logit of a column between two bounds, for values that crowd at a bound.

    Attributes:
        low: Every value lies above it; default 0.
        high: Every value lies below it; default 1.
    """

    kind: Literal["logit"] = "logit"
    low: float = 0.0
    high: float = 1.0

    @property
    def shown(self) -> str:
        """What it is, with its bounds."""
        return f"{self.kind} from {self.low:g} to {self.high:g}"

    @model_validator(mode="after")
    def _ordered(self) -> LogitTransform:
        if not self.low < self.high:
            raise ValueError(f"expected low below high; got {self.low} and {self.high}")
        return self


class AsinhTransform(Config):
    """asinh((x - center) / scale) of a column of long tails: linear near, logarithmic far out.

    Attributes:
        center: Where it is 0: the middle of the values; default 0.
        scale: How far from there it turns from linear to logarithmic; default 1.
    """

    kind: Literal["asinh"] = "asinh"
    center: float = Field(0.0, allow_inf_nan=False)
    scale: float = Field(1.0, gt=0, allow_inf_nan=False)

    @property
    def shown(self) -> str:
        """What it is, with its units."""
        return f"{self.kind} around {self.center:g} in units of {self.scale:g}"

    @property
    def low(self) -> float:
        """Every value lies above it."""
        return float("-inf")

    @property
    def high(self) -> float:
        """Every value lies below it."""
        return float("inf")


def _by_kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


# `log` alone stands for {kind: log}, `logit` for {kind: logit}: between 0 and 1; `asinh` likewise.
AnyTransform = LogTransform | LogitTransform | AsinhTransform
ColumnTransform = Annotated[
    Annotated[AnyTransform, Field(discriminator="kind")], BeforeValidator(_by_kind)
]
ColumnTransforms = Sequence[AnyTransform | None]
