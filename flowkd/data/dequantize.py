"""Dequantisation: uniform noise on integers and steps, in float32 and reproducible."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from flowkd.data.batch import Batch
from flowkd.data.rows import Examples
from flowkd.data.shuffle import seeded_generator
from flowkd.data.steps import spread

# Multiples of 2**-16: their sums with integers below 256 are exact in float32, so that
# floor(x) is q again, and x never rounds up to the next bin or to the upper bound.
NOISE_STEPS = 2**16


def dequantize(q: Tensor, bins: int | None, generator: torch.Generator) -> Tensor:
    """Returns q + u with u uniform on [0, 1), float32; continuous data (bins None) unchanged.

    The density of q + u bounds the probability of q from below (Theis et al., "A note on the
    evaluation of generative models", 2016, arxiv.org/abs/1511.01844).

    Raises:
        ValueError: q is not uint8 with bins, or not float32 without.

    Examples:
        >>> q = torch.tensor([0, 7, 255], dtype=torch.uint8)
        >>> x = dequantize(q, 256, torch.Generator().manual_seed(0))
        >>> x.floor().tolist()
        [0.0, 7.0, 255.0]
    """
    check_dtype(q.dtype, bins)
    if bins is None:
        return q
    return q + truncate_noise(torch.rand(q.shape, generator=generator, dtype=torch.float32))


def truncate_noise(noise: Tensor) -> Tensor:
    """Rounds values in [0, 1) down to multiples of 1 / NOISE_STEPS, in place; returns them."""
    return noise.mul_(NOISE_STEPS).floor_().div_(NOISE_STEPS)


def evaluation_batches(
    examples: Examples, bins: int | None, batch_size: int, seed: int
) -> Iterator[Batch]:
    """Yields every row once, in order; a row's noise depends on the seed, not on batch_size.

    Raises:
        ValueError: There are no examples, batch_size is below 1, or the dtype of x does not go
            with bins.
    """
    check_rows(len(examples), examples.x.dtype, bins)
    if batch_size < 1:
        raise ValueError(f"expected batch_size of at least 1; got {batch_size}")
    return _evaluation_batches(examples, bins, batch_size, seed)


def _evaluation_batches(
    examples: Examples, bins: int | None, batch_size: int, seed: int
) -> Iterator[Batch]:
    # One generator, drawn in the order of rows: torch.rand consumes one number per element.
    stream = seeded_generator(seed, "evaluation")
    for start in range(0, len(examples), batch_size):
        part = slice(start, start + batch_size)
        context = examples.context
        x = dequantize(examples.x[part], bins, stream)
        if examples.steps is not None:
            x = spread(x, examples.steps, torch.rand(x.shape, generator=stream))
        yield Batch(x, None if context is None else context[part])


def check_rows(count: int, dtype: torch.dtype, bins: int | None) -> None:
    """Raises ValueError if there are no rows, or their dtype does not go with bins."""
    if count == 0:
        raise ValueError("expected at least one example; got none")
    check_dtype(dtype, bins)


def check_dtype(dtype: torch.dtype, bins: int | None) -> None:
    """Raises ValueError if values of this dtype do not go with bins."""
    if bins is None and dtype != torch.float32:
        raise ValueError(f"expected float32 x for continuous data (bins None); got {dtype}")
    if bins is not None and dtype != torch.uint8:
        raise ValueError(f"expected uint8 x for bins {bins}; got {dtype}")
