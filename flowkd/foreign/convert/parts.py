"""What conversions are made of: layers as written, each with its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

import torch
from torch import Tensor, nn

from flowkd.errors import ConversionError
from flowkd.flows.converted.layers import (
    LayerConfig,
    LinearLayer,
    NormLayer,
    PermuteLayer,
)

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Part:
    """One layer of a converted flow.

    Attributes:
        layer: What it is, and its sizes.
        weights: Its parameters and buffers, by the names of its bijector.
    """

    layer: LayerConfig
    weights: Weights = field(default_factory=dict)


@dataclass(frozen=True)
class Converted:
    """A whole flow of another library in parts.

    Attributes:
        parts: The first nearest to the data; the base after them is N(0, I).
        event_shape: Of one example.
        context: Size of the vectors that it is conditioned on; 0 for none.
        classes: Number of classes that it is conditioned on; 0 for none.
    """

    parts: list[Part]
    event_shape: tuple[int, ...]
    context: int = 0
    classes: int = 0


def refuse(name: str, module: object, why: str) -> NoReturn:
    """Raises ConversionError for a layer, by its name and class."""
    kind = module.__name__ if isinstance(module, type) else type(module).__name__
    raise ConversionError(
        f"{name} ({kind}): {why}: use the flow as it is, as a teacher in "
        f"`objective: {{teacher: {{library: ..., build: ..., weights: ...}}}}` or by flowkd.adapt"
    )


def norm(scale: Tensor, shift: Tensor, channels: int | None = None) -> Part:
    """Returns z = scale x + shift for each channel, with positive scales (C,)."""
    scale, shift = scale.detach().double().flatten(), shift.detach().double().flatten()
    weights = {"bias": shift / scale, "log_scale": scale.log()}
    return Part(NormLayer(size=len(scale), channels=channels), weights)


def norm_by_log(log_scale: Tensor, before: Tensor, channels: int | None = None) -> Part:
    """Returns z = (x + before) exp(log_scale) for each channel, (C,)."""
    weights = {"bias": before.detach().flatten(), "log_scale": log_scale.detach().flatten()}
    return Part(NormLayer(size=log_scale.numel(), channels=channels), weights)


def linear(matrix: Tensor, shift: Tensor | None = None, channels: int | None = None) -> list[Part]:
    """Returns z = W x + shift over the channels, for W of (C, C)."""
    layer = LinearLayer(size=len(matrix), channels=channels)
    bijector = layer.build(0).double()
    bijector.set_weight(matrix.detach().double())
    parts = [Part(layer, dict(bijector.state_dict()))]
    if shift is not None and bool(shift.detach().any()):
        parts.append(norm(torch.ones(len(matrix)), shift, channels))
    return parts


def permute(order: Sequence[int] | Tensor, channels: int | None = None) -> Part:
    """Returns z[:, i] = x[:, order[i]]."""
    places = tuple(int(each) for each in order)
    layer = PermuteLayer(order=places, channels=channels)
    return Part(layer, dict(layer.build(0).state_dict()))


def around(order: Tensor, inner: Part) -> list[Part]:
    """Returns a part on the channels in another order, and what restores their own."""
    channels = inner.layer.channels
    return [permute(order, channels), inner, permute(order.argsort(), channels)]


def simplified(parts: Sequence[Part]) -> list[Part]:
    """Returns parts in which permutations that follow each other are one, or none."""
    found: list[Part] = []
    for part in parts:
        layer, last = part.layer, found[-1].layer if found else None
        if (
            isinstance(layer, PermuteLayer)
            and isinstance(last, PermuteLayer)
            and layer.channels == last.channels
        ):
            order = [last.order[place] for place in layer.order]
            found[-1] = permute(order, layer.channels)
        else:
            found.append(part)
    return [part for part in found if not _does_nothing(part.layer)]


def _does_nothing(layer: LayerConfig) -> bool:
    return isinstance(layer, PermuteLayer) and layer.order == tuple(range(len(layer.order)))


def on_leading(parts: Sequence[Part], channels: int | None) -> list[Part]:
    """Returns parts that map so many leading channels alone; None for all."""
    return [
        replace(part, layer=part.layer.model_copy(update={"channels": channels})) for part in parts
    ]


def linear_of(module: nn.Module, size: int, places: int = 0) -> tuple[Tensor, Tensor]:
    """Returns W and b of any module that computes W x + b over channels, from what it makes.

    Args:
        module: In float64; returns the values, or these and a log-determinant.
        size: Number of channels.
        places: Number of dimensions after the channels.
    """
    ones = [1] * places
    probe = torch.cat([torch.zeros(1, size), torch.eye(size)]).double().view(size + 1, size, *ones)
    with torch.no_grad():
        made = module(probe)
    made = (made[0] if isinstance(made, tuple) else made).view(size + 1, size)
    return (made[1:] - made[0]).T, made[0]
