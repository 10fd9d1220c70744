"""What a student learns from: data, its teacher's samples, and the teacher's targets of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flowkd.data.batch import BatchSource
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.loader import BatchLoader
from flowkd.data.rows import Examples
from flowkd.data.seeds import derive_seed
from flowkd.distillation.cache import (
    cache_targets,
    check_cache,
    data_with_targets,
    noisy_copies,
    with_taps,
)
from flowkd.distillation.objective import DistillationConfig
from flowkd.distillation.schedules import OF_NOISE
from flowkd.distillation.targets import Bounds
from flowkd.distillation.teacher_samples import (
    CHUNK,
    Contexts,
    FreshSamples,
    MixedLoader,
    bounds_of,
    contexts_like,
    draw_samples,
)
from flowkd.flows.flow import Flow
from flowkd.training.inputs import (
    RunData,
    RunInputs,
    TeacherData,
    Worker,
    keeping_shards,
    loader,
    make_inputs,
)
from flowkd.training.resolved import WARM_START_ROWS, ResolvedRun


def gather_inputs(run: ResolvedRun, data: RunData, worker: Worker) -> RunInputs:
    """Makes of a run's data what it is given, on one of its workers.

    Args:
        run: What is trained, on what.
        data: As `load_data` reads it; its teacher on the worker's device.
        worker: The worker whose inputs are made.

    Raises:
        ConfigError: A cache that would be larger than its limit; samples of a teacher whose
            context is a vector, without data.
        NonFiniteError: A teacher without a finite sample.
    """
    with keeping_shards(run, data):
        if run.config.distillation is not None and data.teacher is not None:
            return _Student(run, run.config.distillation, data.teacher, data, worker).inputs()
        assert data.train is not None
        return make_inputs(run, data, worker, loader(run, data.train, data.bins, worker))


def ask_teacher(run: ResolvedRun, data: RunData, taps: Sequence[str]) -> TeacherData:
    """Asks a teacher all that runs like this one, and with hints at these taps, would ask it.

    Args:
        run: A distillation that learns from samples if any of the runs does.
        data: What all these runs read.
        taps: Names of the teacher's bijectors at which any of them may have a hint.

    Raises:
        ConfigError: Targets that are more than the cache's limit.
        NonFiniteError: A teacher without a finite sample.
    """
    assert run.config.distillation is not None
    assert data.teacher is not None
    student = _Student(run, run.config.distillation, data.teacher, data, Worker(), tuple(taps))
    samples, dropped = student.samples()
    student.check(samples)
    if run.config.distillation.cache.kind == "none":
        return TeacherData(None, samples, dropped)
    if samples is not None:
        samples = student.targets_of_samples(samples)
    return TeacherData(student.targets_of_data(), samples, dropped)


@dataclass(frozen=True)
class _Student:
    """What a student learns from, of a run and its data."""

    run: ResolvedRun
    settings: DistillationConfig
    teacher: Flow
    data: RunData
    worker: Worker
    taps: tuple[str, ...] | None = None

    def inputs(self) -> RunInputs:
        """Gathers what a student is given; a cache that would be too large is refused first."""
        samples, dropped = self.samples()
        self.check(samples)
        data = self.data if self.data.train is not None else self._stand_in(samples)
        batches, fresh = self._batches(samples)
        return make_inputs(self.run, data, self.worker, batches, fresh, dropped)

    def check(self, samples: Examples | None) -> None:
        """Raises ConfigError if the teacher's targets would take more than their limit."""
        if self.settings.cache.kind != "none":
            rows = self._rows_of_data + (len(samples) if samples else 0)
            check_cache(self.settings.cache, self.teacher, rows, self._taps)

    def samples(self) -> tuple[Examples | None, int]:
        """Draws the samples to learn from that are drawn before training; counts the dropped."""
        rows = self.settings.samples.rows
        if not self.run.config.learns_from_samples or rows is None:
            return None, 0
        if self.data.known.samples is not None:
            return self.data.known.samples, self.data.known.dropped
        return self._draw(rows, "samples")

    def _stand_in(self, samples: Examples | None) -> RunData:
        """Returns samples in the place of data, to begin from and to be judged on."""
        first = samples or self._draw(WARM_START_ROWS, "samples")[0]
        judged, _ = self._draw(self.run.config.validation_rows, "validation")
        return replace(self.data, train=first, validation=judged, bins=None)

    def _draw(self, rows: int, stream: str) -> tuple[Examples, int]:
        return draw_samples(
            self.teacher,
            rows,
            temperature=self.settings.samples.temperature,
            seed=derive_seed(self.run.config.seed, stream),
            contexts=self._contexts,
            bounds=self._bounds,
            workers=self.worker.world,
        )

    def _batches(self, samples: Examples | None) -> tuple[BatchSource, FreshSamples | None]:
        """Returns the batches of a student, and what draws fresh samples for them, if any."""
        of_data = self._of_data() if self.data.train is not None else None
        if of_data is not None and not self.run.config.learns_from_samples:
            return of_data, None
        if samples is not None:
            return MixedLoader(of_data, self._of_samples(samples)), None
        fresh = self._fresh()
        return MixedLoader(of_data, fresh), fresh

    def _of_data(self) -> BatchLoader:
        """Returns batches of data, with the teacher's targets if they are to be kept."""
        assert self.data.train is not None
        latents = self.settings.weights.ever(*OF_NOISE)
        if self.settings.cache.kind == "none":
            rows, bins = self.data.train, self.data.bins
            return loader(self.run, rows, bins, self.worker, latents=latents)
        known = self.data.known.targets
        kept = self.targets_of_data() if known is None else with_taps(known, self._taps)
        return loader(self.run, kept, None, self.worker, latents=latents)

    def _of_samples(self, samples: Examples) -> BatchLoader:
        """Returns batches of samples, with the teacher's targets if they are to be kept."""
        if self.settings.cache.kind != "none":
            known = bool(samples.targets)
            samples = with_taps(samples, self._taps) if known else self.targets_of_samples(samples)
        alone = self.data.train is None
        latents = alone and self.settings.weights.ever(*OF_NOISE)
        return loader(self.run, samples, None, self.worker, self._samples_a_batch, latents)

    def _fresh(self) -> FreshSamples:
        return FreshSamples(
            self.teacher,
            batch_size=self._samples_a_batch,
            temperature=self.settings.samples.temperature,
            seed=self.run.config.seed,
            contexts=self._contexts,
            bounds=self._bounds,
            rank=self.worker.rank,
            world=self.worker.world,
        )

    def targets_of_data(self) -> Examples:
        """Returns the rows to train on, noise included, with the teacher's targets."""
        assert self.data.train is not None
        cache, seed = self.settings.cache, self.run.config.seed
        rows, bins = self.data.train, self.data.bins
        workers = self.worker.world
        return data_with_targets(self.teacher, rows, bins, self._taps, cache, seed, workers)

    def targets_of_samples(self, samples: Examples) -> Examples:
        """Returns samples of the teacher with its targets."""
        parts = evaluation_batches(samples, None, CHUNK, self.run.config.seed)
        kind, workers = self.settings.cache.kind, self.worker.world
        return cache_targets(self.teacher, parts, len(samples), self._taps, kind, workers)

    @property
    def _rows_of_data(self) -> int:
        """How many rows a cache keeps of data: several noisy copies of integers."""
        if self.data.train is None:
            return 0
        copies = noisy_copies(self.settings.cache, self.data.train, self.data.bins)
        return copies * len(self.data.train)

    @property
    def _samples_a_batch(self) -> int:
        return self.settings.samples.batch_size or self.run.config.batch_size

    @property
    def _taps(self) -> Sequence[str]:
        if self.taps is not None:
            return self.taps
        return [hint.teacher for hint in self.settings.hints]

    @property
    def _bounds(self) -> Bounds | None:
        return bounds_of(self.data.train, self.data.bins, self.settings.samples.range_factor)

    @property
    def _contexts(self) -> Contexts | None:
        return contexts_like(self.teacher, self.data.train)
