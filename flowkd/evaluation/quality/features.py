"""Spaces in which distances mean something: standardised columns, random features of pictures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d

from flowkd.data.shuffle import seeded_generator

FILTERS = 16
LAYERS = 3
SMALLEST = 4
BATCH = 256


def standardise(real: ArrayLike, drawn: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns both as (N, D) and (M, D) in standard deviations from the mean of the data's columns.

    A column that is constant in the data is only centred.

    Examples:
        >>> standardise([[0.0], [2.0]], [[3.0]])
        (array([[-1.],
               [ 1.]]), array([[2.]]))
    """
    x, y = (np.asarray(rows, np.float64) for rows in (real, drawn))
    x, y = x.reshape(len(x), -1), y.reshape(len(y), -1)
    scale = x.std(0)
    scale = np.where(scale > 0, scale, 1)
    return (x - x.mean(0)) / scale, (y - x.mean(0)) / scale


@torch.no_grad()
def picture_features(
    real: ArrayLike, drawn: ArrayLike, *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns features of pictures by fixed random filters, (N, F) and (M, F), as `standardise`.

    Three layers of 16 random 3x3 convolutions that sum to zero, each with ReLU, and pooled by 2
    before the next; of each layer the means over a 2x2 grid, and of the picture itself those over
    a 4x4 grid. Nothing is learnt or downloaded: they see brightness, edges and textures, and know
    of no objects.

    Args:
        real: Pictures of data, (N, C, H, W), in any unit.
        drawn: Samples, (M, C, H, W), in the same unit.
        seed: Seed of the filters; figures of different seeds are not comparable.

    Raises:
        ValueError: They are no pictures.

    References:
        Random networks as features for such measures: Naeem et al., Reliable fidelity and diversity
        metrics for generative models, 2020, arxiv.org/abs/2002.09797.
    """
    pictures = [torch.as_tensor(np.asarray(rows, np.float32)) for rows in (real, drawn)]
    for name, rows in zip(("real", "drawn"), pictures, strict=True):
        if rows.ndim != 4:
            raise ValueError(f"expected {name} as pictures (N, C, H, W); got {tuple(rows.shape)}")
    mean, scale = pictures[0].mean(), pictures[0].std().clamp(min=1e-12)
    filters = _filters(pictures[0].shape[1], seed)
    found = []
    for rows in pictures:
        parts = [_features((some - mean) / scale, filters) for some in rows.split(BATCH)]
        found.append(torch.cat(parts).numpy())
    return standardise(*found)


def _filters(channels: int, seed: int) -> list[Tensor]:
    """Returns the weights of each layer, (out, in, 3, 3), without a mean and of unit norm."""
    stream = seeded_generator(seed, "quality/filters")
    sizes = [channels] + [FILTERS] * LAYERS
    found = []
    for before, after in pairwise(sizes):
        weight = torch.randn(after, before, 3, 3, generator=stream)
        weight -= weight.mean((1, 2, 3), keepdim=True)
        found.append(weight / weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
    return found


def _features(x: Tensor, filters: list[Tensor]) -> Tensor:
    parts = [adaptive_avg_pool2d(x, 4).flatten(1)]
    for weight in filters:
        x = conv2d(x, weight, padding=1).relu()
        parts.append(adaptive_avg_pool2d(x, 2).flatten(1))
        if min(x.shape[2:]) < 2 * SMALLEST:
            break
        x = avg_pool2d(x, 2)
    return torch.cat(parts, dim=1)
