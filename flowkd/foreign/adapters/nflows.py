"""Flows of nflows as teachers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from nflows import transforms
from nflows.distributions import StandardNormal
from nflows.nn.nets import ConvResidualNet
from nflows.transforms.base import InverseTransform
from torch import Tensor, nn

from flowkd.errors import ConversionError
from flowkd.flows.context import ContextSpec
from flowkd.foreign.adapters.base import Adapter


def event_shape_of(module: Any) -> tuple[int, ...]:
    """Returns the shape of one example: of a flow of pictures, what its layers make the base of."""
    return _before(module._transform, tuple(module._distribution._shape))


def _before(layer: Any, shape: tuple[int, ...], inverse: bool = False) -> tuple[int, ...]:
    """Returns the shape that a layer, or its inverse, makes another one of."""
    if isinstance(layer, transforms.CompositeTransform):
        layers = list(layer._transforms)
        for each in layers if inverse else reversed(layers):
            shape = _before(each, shape, inverse)
    elif type(layer) is InverseTransform:
        shape = _before(layer._transform, shape, not inverse)
    elif isinstance(layer, transforms.SqueezeTransform):
        if len(shape) != 3:
            raise ConversionError(f"expected pictures (C, H, W) for SqueezeTransform; got {shape}")
        factor, (channels, height, width) = layer.factor, shape
        if inverse:
            shape = channels * factor**2, height // factor, width // factor
        else:
            shape = channels // factor**2, height * factor, width * factor
    elif isinstance(layer, transforms.MultiscaleCompositeTransform):
        # Each level but the last gives away a part of what it makes, and the next sees the rest.
        split, rest = layer._split_dim - 1, 0
        for each, kept in zip(
            reversed(layer._transforms), reversed(layer._output_shapes), strict=True
        ):
            made = (*kept[:split], kept[split] + rest, *kept[split + 1 :])
            shape = _before(each, made)
            rest = shape[split]
    return shape


def context_of(module: Any, event_shape: tuple[int, ...]) -> ContextSpec:
    """Returns what a flow is conditioned on: vectors of a size that its networks can take.

    Each size that parts of it suggest is tried, the first layer of an `embedding_net` before the
    networks that see what this makes.

    Raises:
        ConversionError: Its networks see contexts of another shape than vectors.
    """
    sizes = list(dict.fromkeys(_sizes(module)))
    for size in sizes:
        try:
            with torch.no_grad():
                _tried(module.eval(), event_shape, size)
        except Exception:  # of a network's own, whatever it raises
            continue
        return ContextSpec(size=size)
    if any(
        isinstance(each, ConvResidualNet) and each.context_channels for each in module.modules()
    ):
        raise ConversionError(
            f"expected a flow given context vectors (B, c); got a {type(module).__name__} whose "
            f"ConvResidualNet takes pictures: build it with an embedding_net that makes these of "
            f"vectors, such as nn.Unflatten(1, (channels, height, width))"
        )
    return ContextSpec(size=sizes[0]) if sizes else ContextSpec()


def _sizes(module: Any) -> Iterator[int]:
    """Yields sizes of context vectors that parts of a flow suggest, the likeliest first."""
    for each in module._embedding_net.modules():
        if isinstance(each, nn.Unflatten):
            yield math.prod(each.unflattened_size)
        elif isinstance(each, nn.Linear):
            yield each.in_features
    for each in module.modules():
        layer = getattr(each, "context_layer", None)
        if isinstance(layer, nn.Linear):
            yield layer.in_features
        elif isinstance(layer, nn.Conv2d):
            yield layer.in_channels


def _tried(module: Any, event_shape: tuple[int, ...], size: int) -> None:
    like = next(module.parameters())
    x = torch.full((2, *event_shape), 0.5).to(like)
    module.log_prob(x, torch.zeros(2, size).to(like))


class NflowsTeacher(Adapter):
    """A flow of nflows."""

    def _log_prob(self, x: Tensor, context: Tensor | None) -> Tensor:
        log_prob: Tensor = self.module.log_prob(x, context).to(x)
        return log_prob

    def _sample(self, n: int, context: Tensor | None) -> Tensor:
        base, seen = self.module._distribution, self.module._embedding_net(context)
        noise = base.sample(n) if seen is None else base.sample(1, seen)[:, 0]
        # The base draws in float32, whatever the flow's dtype.
        drawn: Tensor = self.module._transform.inverse(noise.to(self.like), context=seen)[0]
        return drawn

    def _encode(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        self._check_base()
        seen = self.module._embedding_net(context)
        z, log_det = self.module._transform(x, context=seen)
        return z, (self.module._distribution.log_prob(z) + log_det).to(x)

    def _decode(self, z: Tensor, context: Tensor | None) -> Tensor:
        self._check_base()
        seen = self.module._embedding_net(context)
        x: Tensor = self.module._transform.inverse(z, context=seen)[0]
        return x

    def _check_base(self) -> None:
        if type(self.module._distribution) is not StandardNormal:
            raise NotImplementedError


TEACHER = NflowsTeacher
