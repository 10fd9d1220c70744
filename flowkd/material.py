"""What a run is given: batches to learn from, rows to begin from, rows to be judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from flowkd.data import Batch, Batches, BatchSource, Examples, evaluation_batches
from flowkd.data.seeding import derive_seed
from flowkd.flow import Flow
from flowkd.lessons import (
    CHUNK,
    FreshSamples,
    Lessons,
    cache_answers,
    check_cache,
    contexts_like,
    draw_samples,
)
from flowkd.run_config import DistillationConfig, TrainingConfig

# Rows for ActNorm, and for warm starts, whose least squares have more unknowns.
CALIBRATION_ROWS = 256
WARM_START_ROWS = 2048


@dataclass(frozen=True)
class Data:
    """The rows of a data set that a run uses.

    Attributes:
        train: To learn from.
        validation: To be judged on.
        bins: The number of integer values of x; None if x is continuous.
    """

    train: Examples
    validation: Examples
    bins: int | None

    def without_context(self) -> Data:
        """Returns the rows for a flow that is not conditioned."""
        return Data(
            replace(self.train, context=None), replace(self.validation, context=None), self.bins
        )


@dataclass(frozen=True)
class Material:
    """What a run is given.

    Attributes:
        batches: To learn from, this worker's share.
        calibration: To begin from, the same on all workers.
        validation: To be judged on, this worker's share, noise included.
        fresh: What draws teacher samples anew at every step, if anything does.
        dropped: How many of the samples drawn before training were not finite.
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
    config: TrainingConfig, data: Data | None, teacher: Flow | None, worker: Worker
) -> Material:
    """Gathers what a run is given.

    Args:
        config: Of the run.
        data: None to learn from the teacher's samples alone.
        teacher: On the worker's device; None to learn from data alone.
        worker: Which one asks.

    Raises:
        ConfigError: A cache that would be larger than its limit; samples of a teacher whose
            context is a vector, without data.
        NonFiniteError: A teacher without a finite sample.
    """
    settings = config.objective
    if not isinstance(settings, DistillationConfig) or teacher is None:
        assert data is not None
        return Material(
            _batches(config, data.train, data.bins, worker),
            _calibration(config, data.train, data.bins, worker),
            _judged(config, data, worker),
        )
    pool, dropped = None, 0
    if config.learns_from_samples and (settings.samples.rows or data is None):
        rows = settings.samples.rows or WARM_START_ROWS
        pool, dropped = _draw(config, settings, teacher, rows, data, "samples")
    if settings.cache.kind != "none":
        kept = _copies(settings, data) * len(data.train) if data else 0
        rows = kept + (len(pool) if pool else 0)
        check_cache(settings.cache, teacher, rows, _taps(settings))
    known = data or _without_data(config, settings, teacher, pool)
    first = _calibration(config, known.train, known.bins, worker)
    validation = _judged(config, known, worker)
    source = None if data is None else _lesson(config, settings, data, teacher, worker)
    if not config.learns_from_samples:
        assert source is not None
        return Material(source, first, validation)
    size = settings.samples.batch_size or config.batch_size
    if settings.samples.rows and pool is not None:
        if settings.cache.kind != "none":
            parts = evaluation_batches(pool, None, CHUNK, config.seed)
            pool = cache_answers(teacher, parts, len(pool), _taps(settings), settings.cache.kind)
        drawn = _batches(config, pool, None, worker, size, latents=data is None)
        return Material(Lessons(source, drawn), first, validation, dropped=dropped)
    fresh = FreshSamples(
        teacher,
        batch_size=size,
        temperature=settings.samples.temperature,
        seed=config.seed,
        contexts=contexts_like(teacher, data.train if data else None),
        rank=worker.rank,
        world=worker.world,
    )
    return Material(Lessons(source, fresh), first, validation, fresh)


def _without_data(
    config: TrainingConfig, settings: DistillationConfig, teacher: Flow, pool: Examples | None
) -> Data:
    assert pool is not None
    judged, _ = _draw(config, settings, teacher, config.validation_rows, None, "validation")
    return Data(pool, judged, None)


def _draw(
    config: TrainingConfig,
    settings: DistillationConfig,
    teacher: Flow,
    rows: int,
    data: Data | None,
    stream: str,
) -> tuple[Examples, int]:
    return draw_samples(
        teacher,
        rows,
        temperature=settings.samples.temperature,
        seed=derive_seed(config.seed, stream),
        contexts=contexts_like(teacher, data.train if data else None),
    )


def _batches(
    config: TrainingConfig,
    rows: Examples,
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
    )


def _lesson(
    config: TrainingConfig,
    settings: DistillationConfig,
    data: Data,
    teacher: Flow,
    worker: Worker,
) -> Batches:
    """Returns batches of data, with the teacher's answers if they are to be kept."""
    if settings.cache.kind == "none":
        return _batches(config, data.train, data.bins, worker)
    copies = _copies(settings, data)
    parts = (
        part
        for copy in range(copies)
        for part in evaluation_batches(
            data.train, data.bins, CHUNK, derive_seed(config.seed, "cache", copy)
        )
    )
    rows = copies * len(data.train)
    known = cache_answers(teacher, parts, rows, _taps(settings), settings.cache.kind)
    return _batches(config, known, None, worker)


def _copies(settings: DistillationConfig, data: Data) -> int:
    return 1 if data.bins is None else settings.cache.copies


def _taps(settings: DistillationConfig) -> list[str]:
    return [hint.teacher for hint in settings.hints]


def _calibration(config: TrainingConfig, rows: Examples, bins: int | None, worker: Worker) -> Batch:
    settings = config.objective
    warm = isinstance(settings, DistillationConfig) and settings.warm_start != "none"
    size = max(config.batch_size, WARM_START_ROWS if warm else CALIBRATION_ROWS)
    return _batches(config, rows, bins, Worker(), size, latents=False).batch(0).to(worker.device)


def _judged(config: TrainingConfig, data: Data, worker: Worker) -> Examples:
    rows = data.validation
    noisy = next(evaluation_batches(rows, data.bins, len(rows), config.seed))
    share = slice(worker.rank, None, worker.world)
    return Examples(noisy.x[share], None if noisy.context is None else noisy.context[share])
