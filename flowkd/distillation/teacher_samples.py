"""What a student is given to learn from at each step: data and teacher samples, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from pydantic import Field
from torch import Tensor

from flowkd.config import Config
from flowkd.data.batch import Batch, BatchSource, append_samples
from flowkd.data.rows import Examples, Rows, iter_shards
from flowkd.data.seeds import derive_seed
from flowkd.distillation.targets import Bounds, no_usable_samples, usable
from flowkd.distillation.together import together
from flowkd.errors import ConfigError
from flowkd.flows.flow import Flow

CHUNK = 500
ATTEMPTS = 100

# Draws so many contexts.
Contexts = Callable[[int, torch.Generator], Tensor]


class SamplesConfig(Config):
    """Teacher samples to learn from.

    Attributes:
        rows: How many are drawn before training; none: fresh ones at every step.
        batch_size: How many each step sees, over all workers; by default as many as of data.
        temperature: Standard deviation of their latents; default 1.
        range_factor: Those outside of the data's range, made wider by this factor about its centre,
            are dropped; none: only those that are not finite. Without data, only the range of
            integers is known.
    """

    rows: int | None = Field(20_000, ge=1)
    batch_size: int | None = Field(None, ge=1)
    temperature: float = Field(1.0, gt=0)
    range_factor: float | None = Field(2.0, ge=1)


class MixedLoader:
    """Data and teacher samples, side by side.

    Args:
        data: Batches of data; none to learn from the teacher alone.
        samples: Batches of teacher samples; they become the last rows of each batch.
    """

    def __init__(self, data: BatchSource | None, samples: BatchSource) -> None:
        self.data = data
        self.samples = samples

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, counted from 0."""
        return append_samples(
            self.data.batch(step) if self.data else None, self.samples.batch(step)
        )


class FreshSamples:
    """Teacher samples that are drawn anew at every step; a pure function of seed and step.

    One that is not usable is dropped and drawn again, for the same context: all workers have as
    many, and their mean is the whole batch's. How many of this worker's were dropped is counted
    until it is taken.

    Args:
        teacher: The flow that is sampled.
        batch_size: Rows of a batch over all workers.
        temperature: Standard deviation of the latents.
        seed: Seed of latents and contexts.
        contexts: Draws so many contexts; none for a teacher without.
        bounds: Where the samples must lie; none: anywhere.
        rank: Number of this worker, from 0.
        world: The number of workers.
    """

    def __init__(
        self,
        teacher: Flow,
        *,
        batch_size: int,
        temperature: float,
        seed: int,
        contexts: Contexts | None = None,
        bounds: Bounds | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.teacher = teacher
        self.batch_size = batch_size
        self.temperature = temperature
        self.seed = seed
        self.contexts = contexts
        self.bounds = bounds
        share = batch_size // world
        self.rows = slice(rank * share, (rank + 1) * share)
        self._dropped = 0

    @torch.no_grad()
    def batch(self, step: int) -> Batch:
        """Returns the samples of a step, on the teacher's device.

        Raises:
            NonFiniteError: A row whose samples are never usable.
        """
        z = self._latents(step, 0)
        context = None
        if self.contexts is not None:
            generator = _generator(self.seed, "contexts", step)
            context = self.contexts(self.batch_size, generator)[self.rows].to(z.device)
        x = self.teacher.inverse(z, context)
        for attempt in range(1, ATTEMPTS + 1):
            bad = ~usable(x, self.bounds)
            if not bad.any():
                return Batch(x, context)
            self._dropped += int(bad.sum())
            if attempt < ATTEMPTS:
                z = self._latents(step, attempt)[bad]
                x[bad] = self.teacher.inverse(z, None if context is None else context[bad])
        raise no_usable_samples(ATTEMPTS)

    def _latents(self, step: int, attempt: int) -> Tensor:
        generator = _generator(self.seed, "samples", step, attempt)
        return _latents(self.teacher, self.batch_size, self.temperature, generator)[self.rows]

    def take_dropped(self) -> int:
        """Returns how many of this worker's samples were dropped since this was last called."""
        taken, self._dropped = self._dropped, 0
        return taken


def contexts_like(teacher: Flow, rows: Rows | None) -> Contexts | None:
    """Returns what draws contexts for samples: those of the data, or any class alike.

    Raises:
        ConfigError: A teacher of context vectors, without data to take them from.
    """
    if not teacher.context.width:
        return None
    contexts = [part.context for part in iter_shards(rows) if part.context is not None]
    if contexts:
        known = torch.cat(contexts)
        return lambda count, generator: known[
            torch.randint(len(known), (count,), generator=generator)
        ]
    if not teacher.context.classes:
        raise ConfigError(
            f"expected data to take the teacher's context from, {teacher.context}; got none: name "
            f"a data set"
        )
    classes = teacher.context.classes
    return lambda count, generator: torch.randint(classes, (count,), generator=generator)


def bounds_of(rows: Rows | None, bins: int | None, range_factor: float | None) -> Bounds | None:
    """Returns the box that samples must lie in: the data's range, `range_factor` times as wide.

    Args:
        rows: The data; none to learn from the teacher alone.
        bins: The number of integer values of x; None if x is continuous.
        range_factor: None for no box.
    """
    if range_factor is None:
        return None
    if bins is not None:
        return Bounds.around(torch.tensor(0.0), torch.tensor(float(bins)), range_factor)
    ranges = [(part.x.amin(0), part.x.amax(0)) for part in iter_shards(rows)]
    if not ranges:
        return None
    lows, highs = (torch.stack(ends) for ends in zip(*ranges, strict=True))
    steps = 0.0 if rows is None or rows.steps is None else rows.steps
    return Bounds.around(lows.amin(0), highs.amax(0) + steps, range_factor)


@torch.no_grad()
def draw_samples(
    teacher: Flow,
    rows: int,
    *,
    temperature: float,
    seed: int,
    contexts: Contexts | None = None,
    bounds: Bounds | None = None,
    workers: int = 1,
) -> tuple[Examples, int]:
    """Draws teacher samples; returns those that are finite and in bounds, and how many are not.

    So many workers call this, and each computes its part of all samples, which all get.

    Raises:
        NonFiniteError: A chunk of samples of which none is finite and in bounds.
    """
    generator = _generator(seed, "samples")
    parts, dropped = [], 0

    def drawn() -> Iterator[tuple[Tensor, Tensor | None]]:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            z = _latents(teacher, count, temperature, generator)
            yield z, contexts(count, generator).to(z.device) if contexts else None

    def room(part: tuple[Tensor, Tensor | None]) -> list[Tensor]:
        return [part[0].new_empty(len(part[0]), *teacher.event_shape)]

    def compute(part: tuple[Tensor, Tensor | None]) -> list[Tensor]:
        return [teacher.inverse(*part)]

    for (_, context), (x,) in together(drawn(), compute, room, workers):
        good = usable(x, bounds)
        if not good.any():
            raise no_usable_samples(len(x))
        parts.append((x[good].cpu(), None if context is None else context[good].cpu()))
        dropped += len(x) - int(good.sum())
    context = None if contexts is None else torch.cat([c for _, c in parts if c is not None])
    return Examples(torch.cat([x for x, _ in parts]), context), dropped


def _latents(teacher: Flow, count: int, temperature: float, generator: torch.Generator) -> Tensor:
    return teacher.draw_latents(count, temperature=temperature, generator=generator)


def _generator(seed: int, stream: str, *numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, stream, *numbers))
