"""The maps that columns go through before they are standardised."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flowkd.bijectors.base import Bijector
from flowkd.bijectors.chain import Chain
from flowkd.bijectors.columns import Asinh, Log, Logit, Preprocess, Selected
from flowkd.bijectors.elementwise import Standardize
from flowkd.columns import AsinhTransform, ColumnTransforms, LogitTransform, LogTransform

ASINH = ("center", "scale")


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
    tails = {
        place: each for place, each in enumerate(transforms) if isinstance(each, AsinhTransform)
    }
    if tails:
        center, scale = ([getattr(each, key) for each in tails.values()] for key in ASINH)
        maps["asinh"] = Selected(Asinh(center, scale), list(tails))
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
