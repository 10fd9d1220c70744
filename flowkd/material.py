"""What a run is given: batches to learn from, rows to begin from, rows to be judged on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from flowkd.data import Batch, Batches, BatchSource, Examples, StoredRows, evaluation_batches
from flowkd.data.seeding import derive_seed
from flowkd.flow import Flow
from flowkd.lessons import (
    CHUNK,
    Contexts,
    FreshSamples,
    Lessons,
    bounds_of,
    cache_answers,
    check_cache,
    contexts_like,
    draw_samples,
)
from flowkd.run_config import DistillationConfig, TrainingConfig
from flowkd.teacher import Bounds

# Rows for ActNorm, and for warm starts, whose least squares have more unknowns.
CALIBRATION_ROWS = 256
WARM_START_ROWS = 2048


@dataclass(frozen=True)
class Data:
    """The rows of a data set that a run uses.

    Attributes:
        train: To learn from; each worker reads its own.
        validation: To be judged on.
        bins: The number of integer values of x; None if x is continuous.
    """

    train: StoredRows | Examples
    validation: Examples
    bins: int | None

    def without_context(self) -> Data:
        """Returns the rows for a flow that is not conditioned."""
        return Data(self.train.without_context(), self.validation.without_context(), self.bins)


@dataclass(frozen=True)
class Material:
    """What a run is given.

    Attributes:
        batches: To learn from, this worker's share.
        calibration: To begin from, the same on all workers.
        validation: To be judged on, this worker's share, noise included.
        fresh: What draws teacher samples anew at every step, if anything does.
        dropped: How many of the samples drawn before training were of no use.
    """

    batches: BatchSource
    calibration: Batch
    validation: Examples
    fresh: FreshSamples | None = None
    dropped: int = 0


@dataclass(frozen=True)
class Worker:
    """Which of the workers this is, and where it computes."""

    rank: int = 0
    world: int = 1
    device: torch.device | str = "cpu"


def gather(
    config: TrainingConfig,
    data: Data | None,
    teacher: Flow | None,
    worker: Worker,
    bins: int | None,
) -> Material:
    """Gathers what a run is given.

    Args:
        config: Of the run.
        data: None to learn from the teacher's samples alone.
        teacher: On the worker's device; None to learn from data alone.
        worker: Which one asks.
        bins: The number of integer values of the teacher's data; None if they are continuous.

    Raises:
        ConfigError: A cache that would be larger than its limit; samples of a teacher whose
            context is a vector, without data.
        NonFiniteError: A teacher without a finite sample.
    """
    settings = config.objective
    if isinstance(settings, DistillationConfig) and teacher is not None:
        return _Teaching(config, settings, teacher, data, worker, bins).material()
    assert data is not None
    return _material(config, data, worker, _batches(config, data.train, data.bins, worker))


def _material(
    config: TrainingConfig,
    data: Data,
    worker: Worker,
    batches: BatchSource,
    fresh: FreshSamples | None = None,
    dropped: int = 0,
) -> Material:
    calibration = _calibration(config, data.train, data.bins, worker)
    validation = _judged(config, data, worker)
    return Material(batches, calibration, validation, fresh, dropped)


@dataclass(frozen=True)
class _Teaching:
    """What a student learns from: data, its teacher's samples, the teacher's answers to both."""

    config: TrainingConfig
    settings: DistillationConfig
    teacher: Flow
    data: Data | None
    worker: Worker
    bins: int | None

    def material(self) -> Material:
        """Gathers what a student is given; a cache that would be too large is refused first."""
        samples, dropped = self._samples()
        if self.settings.cache.kind != "none":
            rows = self._rows_of_data + (len(samples) if samples else 0)
            check_cache(self.settings.cache, self.teacher, rows, self._taps)
        known = self.data or self._stand_in(samples)
        batches, fresh = self._batches(samples)
        return _material(self.config, known, self.worker, batches, fresh, dropped)

    def _samples(self) -> tuple[Examples | None, int]:
        """Draws the samples to learn from that are drawn before training; counts the dropped."""
        rows = self.settings.samples.rows
        if not self.config.learns_from_samples or rows is None:
            return None, 0
        return self._draw(rows, "samples")

    def _stand_in(self, samples: Examples | None) -> Data:
        """Returns samples in the place of data, to begin from and to be judged on."""
        first = samples or self._draw(WARM_START_ROWS, "samples")[0]
        judged, _ = self._draw(self.config.validation_rows, "validation")
        return Data(first, judged, None)

    def _draw(self, rows: int, stream: str) -> tuple[Examples, int]:
        return draw_samples(
            self.teacher,
            rows,
            temperature=self.settings.samples.temperature,
            seed=derive_seed(self.config.seed, stream),
            contexts=self._contexts,
            bounds=self._bounds,
        )

    def _batches(self, samples: Examples | None) -> tuple[BatchSource, FreshSamples | None]:
        """Returns the batches of a student, and what draws fresh samples for them, if any."""
        of_data = self._of_data(self.data) if self.data else None
        if of_data is not None and not self.config.learns_from_samples:
            return of_data, None
        if samples is not None:
            return Lessons(of_data, self._of_samples(samples)), None
        fresh = self._fresh()
        return Lessons(of_data, fresh), fresh

    def _of_data(self, data: Data) -> Batches:
        """Returns batches of data, with the teacher's answers if they are to be kept."""
        if self.settings.cache.kind == "none":
            return _batches(self.config, data.train, data.bins, self.worker)
        rows = data.train.all()
        parts = (
            part
            for copy in range(self._copies)
            for part in evaluation_batches(
                rows, data.bins, CHUNK, derive_seed(self.config.seed, "cache", copy)
            )
        )
        known = self._with_answers(parts, self._rows_of_data)
        known = replace(known, pieces=[*data.train.sizes] * self._copies)
        return _batches(self.config, known, None, self.worker)

    def _of_samples(self, samples: Examples) -> Batches:
        """Returns batches of samples, with the teacher's answers if they are to be kept."""
        if self.settings.cache.kind != "none":
            parts = evaluation_batches(samples, None, CHUNK, self.config.seed)
            samples = self._with_answers(parts, len(samples))
        alone = self.data is None
        return _batches(self.config, samples, None, self.worker, self._samples_a_batch, alone)

    def _fresh(self) -> FreshSamples:
        return FreshSamples(
            self.teacher,
            batch_size=self._samples_a_batch,
            temperature=self.settings.samples.temperature,
            seed=self.config.seed,
            contexts=self._contexts,
            bounds=self._bounds,
            rank=self.worker.rank,
            world=self.worker.world,
        )

    def _with_answers(self, parts: Iterable[Batch], rows: int) -> Examples:
        return cache_answers(self.teacher, parts, rows, self._taps, self.settings.cache.kind)

    @property
    def _copies(self) -> int:
        """How many noisy versions of each row of data a cache keeps."""
        noisy = self.data is not None and self.data.bins is not None
        return self.settings.cache.copies if noisy else 1

    @property
    def _rows_of_data(self) -> int:
        return self._copies * len(self.data.train) if self.data else 0

    @property
    def _samples_a_batch(self) -> int:
        return self.settings.samples.batch_size or self.config.batch_size

    @property
    def _taps(self) -> list[str]:
        return [hint.teacher for hint in self.settings.hints]

    @property
    def _bounds(self) -> Bounds | None:
        rows = self.data.train if self.data else None
        return bounds_of(rows, self.bins, self.settings.samples.reach)

    @property
    def _contexts(self) -> Contexts | None:
        return contexts_like(self.teacher, self.data.train if self.data else None)


def _batches(
    config: TrainingConfig,
    rows: StoredRows | Examples,
    bins: int | None,
    worker: Worker,
    batch_size: int | None = None,
    latents: bool = True,
) -> Batches:
    settings = config.objective
    synthesis = isinstance(settings, DistillationConfig) and settings.weights.ever("synthesis")
    return Batches(
        rows,
        batch_size=batch_size or config.batch_size,
        seed=config.seed,
        bins=bins,
        latents=latents and synthesis,
        rank=worker.rank,
        world=worker.world,
        device=worker.device,
        memory=config.scaling.resident_gib,
    )


def _calibration(
    config: TrainingConfig, rows: StoredRows | Examples, bins: int | None, worker: Worker
) -> Batch:
    settings = config.objective
    warm = isinstance(settings, DistillationConfig) and settings.warm_start != "none"
    size = max(config.batch_size, WARM_START_ROWS if warm else CALIBRATION_ROWS)
    alone = Worker(device=worker.device)
    return _batches(config, rows.first(size), bins, alone, size, latents=False).batch(0)


def _judged(config: TrainingConfig, data: Data, worker: Worker) -> Examples:
    rows = data.validation
    noisy = next(evaluation_batches(rows, data.bins, len(rows), config.seed))
    share = slice(worker.rank, None, worker.world)
    return Examples(noisy.x[share], None if noisy.context is None else noisy.context[share])
