"""Which map a column goes through before it is standardised, as it is written in YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from flowkd.bijectors.base import Bijector, Chain
from flowkd.bijectors.columns import Log, Logit, Preprocess, Selected
from flowkd.bijectors.elementwise import Standardize
from flowkd.config import Config


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


def _by_kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


# `log` alone stands for {kind: log}, `logit` for {kind: logit}: between 0 and 1.
ColumnTransform = Annotated[
    Annotated[LogTransform | LogitTransform, Field(discriminator="kind")], BeforeValidator(_by_kind)
]
ColumnTransforms = Sequence[LogTransform | LogitTransform | None]


def column_maps(transforms: ColumnTransforms) -> dict[str, Bijector]:
    """Returns the maps of a table's columns, None for a column that has none, by name.

    Examples:
        >>> maps = column_maps([LogTransform(), None, LogitTransform(high=100.0)])
        >>> {name: selected.channels.tolist() for name, selected in maps.items()}
        {'log': [0], 'logit': [2]}
    """
    logs = [place for place, each in enumerate(transforms) if isinstance(each, LogTransform)]
    logits = {
        place: each for place, each in enumerate(transforms) if isinstance(each, LogitTransform)
    }
    maps: dict[str, Bijector] = {}
    if logs:
        maps["log"] = Selected(Log(), logs)
    if logits:
        low, high = ([getattr(each, end) for each in logits.values()] for end in ("low", "high"))
        maps["logit"] = Selected(Logit(low, high), list(logits))
    return maps


def preprocessing(
    mean: float | Sequence[float],
    scale: float | Sequence[float],
    transforms: ColumnTransforms | None = None,
) -> Bijector:
    """Returns what takes data units to order one: maps of columns, where there are any, first.

    Args:
        mean: As Standardize takes it; of the transformed columns.
        scale: As Standardize takes it; of the transformed columns.
        transforms: One for each column of (D,), None for a column that has none; default none.
    """
    standardize = Standardize(mean, scale)
    maps = column_maps(transforms or ())
    return Preprocess(Chain({**maps, "standardize": standardize})) if maps else standardize


def transformed(x: Tensor, transforms: ColumnTransforms | None) -> Tensor:
    """Returns rows x (N, D) with every column mapped, in the dtype of x."""
    maps = column_maps(transforms or ())
    with torch.no_grad():
        return Chain(maps).to(x.dtype)(x)[0] if maps else x
