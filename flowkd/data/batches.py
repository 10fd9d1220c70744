"""Examples -> batches in data units; a batch is a pure function of the seed and the step."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from flowkd.data.reading import Examples
from flowkd.data.seeding import derive_seed

# Multiples of 2**-16: their sums with integers below 256 are exact in float32, so that
# floor(x) is q again, and x never rounds up to the next bin or to the upper bound.
NOISE_STEPS = 2**16


@dataclass(frozen=True)
class Batch:
    """What one step of training or evaluation sees.

    Attributes:
        x: (B, *event) float32, in data units; integer bins are dequantised.
        context: None, (B,) int64 classes, or (B, c) float32 vectors.
        z: None, or (b, D) float32 standard normal latents, for the first b rows.
        samples: How many rows, the last ones, were drawn from a teacher.
        answers: What a teacher said of each row, (B, ...) by name, if that is known already.
    """

    x: Tensor
    context: Tensor | None = None
    z: Tensor | None = None
    samples: int = 0
    answers: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device | str) -> Batch:
        """Returns the batch on a device."""
        context, z = (t if t is None else t.to(device) for t in (self.context, self.z))
        answers = {name: value.to(device) for name, value in self.answers.items()}
        return Batch(self.x.to(device), context, z, self.samples, answers)


def join(data: Batch | None, drawn: Batch) -> Batch:
    """Returns rows of data followed by rows drawn from a teacher, on the device of the latter."""
    if data is None:
        return replace(drawn, samples=len(drawn))
    data = data.to(drawn.x.device)
    context = None
    if data.context is not None and drawn.context is not None:
        context = torch.cat([data.context, drawn.context])
    known = data.answers.keys() & drawn.answers.keys()
    answers = {name: torch.cat([data.answers[name], drawn.answers[name]]) for name in known}
    return Batch(torch.cat([data.x, drawn.x]), context, data.z, len(drawn), answers)


class BatchSource(Protocol):
    """Yields the batch of any step: a pure function of the step's number."""

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, counted from 0."""
        ...


class Batches:
    """An endless sequence of shuffled epochs, cut into full batches.

    Every epoch is a fresh permutation; one that ends within a batch continues into the next.
    Permutation, noise and latents are drawn for the global batch, then cut by rank: any number
    of workers sees the same batches, and a resumed run those it would have seen.

    Args:
        examples: The split's rows.
        batch_size: Rows of the global batch, over all workers.
        seed: Seed of every draw.
        bins: The number of integer values of x; None if x is continuous.
        latents: Whether batches carry `z`.
        rank: Which of the workers this is: it gets rows rank * B / world and on.
        world: The number of workers.

    Raises:
        ValueError: There are no examples, batch_size is not a positive multiple of world, rank is
            not below world, or the dtype of x does not go with bins.
    """

    def __init__(
        self,
        examples: Examples,
        *,
        batch_size: int,
        seed: int,
        bins: int | None,
        latents: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        _check(examples, bins)
        if world < 1 or not 0 <= rank < world:
            raise ValueError(f"expected 0 <= rank < world; got rank {rank}, world {world}")
        if batch_size < 1 or batch_size % world:
            raise ValueError(
                f"expected batch_size to be a positive multiple of the {world} workers; "
                f"got {batch_size}"
            )
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.bins = bins
        self.latents = latents
        self.rank = rank
        self.world = world
        self._permutations: dict[int, Tensor] = {}

    def batch(self, step: int) -> Batch:
        """Returns this worker's rows of the batch of a step (from 0 on)."""
        if step < 0:
            raise ValueError(f"expected step of at least 0; got {step}")
        share = self.batch_size // self.world
        mine = slice(self.rank * share, (self.rank + 1) * share)
        rows = self._rows(step * self.batch_size + mine.start, share)
        x = self.examples.x.index_select(0, rows)
        if self.bins is not None:
            generator = _generator(self.seed, "noise", step)
            x = x + _noise((self.batch_size, *x.shape[1:]), generator)[mine]
        context = self.examples.context
        return Batch(
            x,
            None if context is None else context.index_select(0, rows),
            self._latents(step)[mine] if self.latents else None,
            answers={
                name: value.index_select(0, rows) for name, value in self.examples.answers.items()
            },
        )

    def from_step(self, start: int = 0) -> Iterator[Batch]:
        """Yields the batches of step `start` and on, without end."""
        for step in itertools.count(start):
            yield self.batch(step)

    def _latents(self, step: int) -> Tensor:
        dimensions = math.prod(self.examples.x.shape[1:])
        generator = _generator(self.seed, "latents", step)
        shape = (self.batch_size, dimensions)
        return torch.randn(shape, generator=generator, dtype=torch.float32)

    def _rows(self, start: int, count: int) -> Tensor:
        """Returns the indices at positions start, start + 1, ... of the endless sequence."""
        size = len(self.examples)
        first, last = start // size, (start + count - 1) // size
        self._permutations = {epoch: self._permutation(epoch) for epoch in range(first, last + 1)}
        parts = [
            order[max(0, start - epoch * size) : start + count - epoch * size]
            for epoch, order in self._permutations.items()
        ]
        return torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch in self._permutations:
            return self._permutations[epoch]
        return torch.randperm(
            len(self.examples), generator=_generator(self.seed, "permutation", epoch)
        )


def dequantise(q: Tensor, bins: int | None, generator: torch.Generator) -> Tensor:
    """Returns q + u with u uniform on [0, 1), float32; continuous data (bins None) unchanged.

    The density of q + u bounds the probability of q from below (Theis et al., "A note on the
    evaluation of generative models", 2016, arxiv.org/abs/1511.01844).

    Raises:
        ValueError: q is not uint8 with bins, or not float32 without.
    """
    _check_dtype(q, bins)
    return q if bins is None else q + _noise(tuple(q.shape), generator)


def evaluation_batches(
    examples: Examples, bins: int | None, batch_size: int, seed: int
) -> Iterator[Batch]:
    """Yields every row once, in order; a row's noise depends on the seed, not on batch_size.

    Raises:
        ValueError: There are no examples, batch_size is below 1, or the dtype of x does not go
            with bins.
    """
    _check(examples, bins)
    if batch_size < 1:
        raise ValueError(f"expected batch_size of at least 1; got {batch_size}")
    return _evaluation_batches(examples, bins, batch_size, seed)


def _evaluation_batches(
    examples: Examples, bins: int | None, batch_size: int, seed: int
) -> Iterator[Batch]:
    # One generator, drawn in the order of rows: torch.rand consumes one number per element.
    generator = _generator(seed, "evaluation")
    for start in range(0, len(examples), batch_size):
        part = slice(start, start + batch_size)
        context = examples.context
        yield Batch(
            dequantise(examples.x[part], bins, generator),
            None if context is None else context[part],
        )


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    noise = torch.rand(shape, generator=generator, dtype=torch.float32)
    return noise.mul_(NOISE_STEPS).floor_().div_(NOISE_STEPS)


def _generator(seed: int, stream: str, *numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, stream, *numbers))


def _check(examples: Examples, bins: int | None) -> None:
    if len(examples) == 0:
        raise ValueError("expected at least one example; got none")
    _check_dtype(examples.x, bins)


def _check_dtype(x: Tensor, bins: int | None) -> None:
    if bins is None and x.dtype != torch.float32:
        raise ValueError(f"expected float32 x for continuous data (bins None); got {x.dtype}")
    if bins is not None and x.dtype != torch.uint8:
        raise ValueError(f"expected uint8 x for bins {bins}; got {x.dtype}")
