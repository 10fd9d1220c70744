"""What a student is given: data, its teacher's samples, and the teacher's targets to both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flowkd.data.batch import BatchSource
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.loader import BatchLoader
from flowkd.data.rows import Examples
from flowkd.data.shuffle import derive_seed
from flowkd.distill.cache import cache_targets, check_cache, data_with_targets, with_taps
from flowkd.distill.targets import Bounds
from flowkd.distill.teacher_samples import (
    CHUNK,
    Contexts,
    FreshSamples,
    MixedLoader,
    bounds_of,
    contexts_like,
    draw_samples,
)
from flowkd.flows.flow import Flow
from flowkd.training.config import DistillationConfig, TrainingConfig
from flowkd.training.inputs import (
    WARM_START_ROWS,
    Data,
    Material,
    Worker,
    batches_of,
    make_material,
)


@dataclass(frozen=True)
class Known:
    """What a teacher has said already: to all runs of the same rows, seed, samples and cache.

    Attributes:
        targets: The rows to train on, noise included, with its targets; None: not known.
        samples: Its samples to learn from, with targets where those are kept; None: not known.
        dropped: How many more samples were of no use.
    """

    targets: Examples | None = None
    samples: Examples | None = None
    dropped: int = 0


def gather(
    config: TrainingConfig,
    data: Data | None,
    teacher: Flow | None,
    worker: Worker,
    bins: int | None,
    known: Known | None = None,
) -> Material:
    """Gathers what a run is given.

    Args:
        config: Of the run.
        data: None to learn from the teacher's samples alone.
        teacher: On the worker's device; None to learn from data alone.
        worker: Which one asks.
        bins: The number of integer values of the teacher's data; None if they are continuous.
        known: What the teacher has said already; it changes nothing but the time.

    Raises:
        ConfigError: A cache that would be larger than its limit; samples of a teacher whose
            context is a vector, without data.
        NonFiniteError: A teacher without a finite sample.
    """
    settings = config.objective
    if isinstance(settings, DistillationConfig) and teacher is not None:
        known = known or Known()
        return _Teaching(config, settings, teacher, data, worker, bins, known).material()
    assert data is not None
    batches = batches_of(config, data.train, data.bins, worker)
    return make_material(config, data, worker, batches)


def ask_once(config: TrainingConfig, data: Data, teacher: Flow, taps: Sequence[str]) -> Known:
    """Asks a teacher all that runs like this one, and with hints at these taps, would ask it.

    Args:
        config: A distillation that learns from samples if any of the runs does.
        data: Of all of them.
        teacher: Of all of them.
        taps: Of the teacher.

    Raises:
        ConfigError: Answers that are more than the cache's limit.
        NonFiniteError: A teacher without a finite sample.
    """
    settings = config.objective
    assert isinstance(settings, DistillationConfig)
    teaching = _Teaching(config, settings, teacher, data, Worker(), data.bins, taps=tuple(taps))
    samples, dropped = teaching.samples()
    teaching.check(samples)
    if settings.cache.kind == "none":
        return Known(None, samples, dropped)
    if samples is not None:
        samples = teaching.targets_of_samples(samples)
    return Known(teaching.targets(data), samples, dropped)


@dataclass(frozen=True)
class _Teaching:
    """What a student learns from: data, its teacher's samples, the teacher's targets to both."""

    config: TrainingConfig
    settings: DistillationConfig
    teacher: Flow
    data: Data | None
    worker: Worker
    bins: int | None
    known: Known = Known()
    taps: tuple[str, ...] | None = None

    def material(self) -> Material:
        """Gathers what a student is given; a cache that would be too large is refused first."""
        samples, dropped = self.samples()
        self.check(samples)
        known = self.data or self._stand_in(samples)
        batches, fresh = self._batches(samples)
        return make_material(self.config, known, self.worker, batches, fresh, dropped)

    def check(self, samples: Examples | None) -> None:
        """Raises ConfigError if the teacher's targets would take more than their limit."""
        if self.settings.cache.kind != "none":
            rows = self._rows_of_data + (len(samples) if samples else 0)
            check_cache(self.settings.cache, self.teacher, rows, self._taps)

    def samples(self) -> tuple[Examples | None, int]:
        """Draws the samples to learn from that are drawn before training; counts the dropped."""
        rows = self.settings.samples.rows
        if not self.config.learns_from_samples or rows is None:
            return None, 0
        if self.known.samples is not None:
            return self.known.samples, self.known.dropped
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
            return MixedLoader(of_data, self._of_samples(samples)), None
        fresh = self._fresh()
        return MixedLoader(of_data, fresh), fresh

    def _of_data(self, data: Data) -> BatchLoader:
        """Returns batches of data, with the teacher's targets if they are to be kept."""
        if self.settings.cache.kind == "none":
            return batches_of(self.config, data.train, data.bins, self.worker)
        known = self.known.targets
        if known is None:
            return batches_of(self.config, self.targets(data), None, self.worker)
        return batches_of(self.config, with_taps(known, self._taps), None, self.worker)

    def _of_samples(self, samples: Examples) -> BatchLoader:
        """Returns batches of samples, with the teacher's targets if they are to be kept."""
        if self.settings.cache.kind != "none":
            known = bool(samples.targets)
            samples = with_taps(samples, self._taps) if known else self.targets_of_samples(samples)
        alone = self.data is None
        return batches_of(self.config, samples, None, self.worker, self._samples_a_batch, alone)

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

    def targets(self, data: Data) -> Examples:
        """Returns the rows to train on, noise included, with the teacher's targets."""
        settings, seed = self.settings.cache, self.config.seed
        return data_with_targets(self.teacher, data.train, data.bins, self._taps, settings, seed)

    def targets_of_samples(self, samples: Examples) -> Examples:
        """Returns samples of the teacher with its targets to them."""
        parts = evaluation_batches(samples, None, CHUNK, self.config.seed)
        kind = self.settings.cache.kind
        return cache_targets(self.teacher, parts, len(samples), self._taps, kind)

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
    def _taps(self) -> Sequence[str]:
        return (
            self.taps if self.taps is not None else [hint.teacher for hint in self.settings.hints]
        )

    @property
    def _bounds(self) -> Bounds | None:
        rows = self.data.train if self.data else None
        return bounds_of(rows, self.bins, self.settings.samples.range_factor)

    @property
    def _contexts(self) -> Contexts | None:
        return contexts_like(self.teacher, self.data.train if self.data else None)
