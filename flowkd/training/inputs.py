"""What a run is given: batches to learn from, rows to begin from, rows to be judged on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from flowkd.data.batch import Batch, BatchSource
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.loader import BatchLoader
from flowkd.data.reading import StoredRows
from flowkd.data.rows import Examples
from flowkd.distillation.teacher_samples import FreshSamples
from flowkd.training.config import DistillationConfig, TrainingConfig

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


def make_material(
    config: TrainingConfig,
    data: Data,
    worker: Worker,
    batches: BatchSource,
    fresh: FreshSamples | None = None,
    dropped: int = 0,
) -> Material:
    """Returns what a run on these data is given, to learn from these batches."""
    calibration = _calibration(config, data.train, data.bins, worker)
    validation = _judged(config, data, worker)
    return Material(batches, calibration, validation, fresh, dropped)


def batches_of(
    config: TrainingConfig,
    rows: StoredRows | Examples,
    bins: int | None,
    worker: Worker,
    batch_size: int | None = None,
    latents: bool = True,
) -> BatchLoader:
    """Returns a worker's share of the batches of rows, as a run's config asks for them."""
    settings = config.objective
    synthesis = isinstance(settings, DistillationConfig) and settings.weights.ever("synthesis")
    return BatchLoader(
        rows,
        batch_size=batch_size or config.batch_size,
        seed=config.seed,
        bins=bins,
        latents=latents and synthesis,
        rank=worker.rank,
        world=worker.world,
        device=worker.device,
        memory_gib=config.scaling.resident_gib,
    )


def _calibration(
    config: TrainingConfig, rows: StoredRows | Examples, bins: int | None, worker: Worker
) -> Batch:
    settings = config.objective
    warm = isinstance(settings, DistillationConfig) and settings.warm_start != "none"
    size = max(config.batch_size, WARM_START_ROWS if warm else CALIBRATION_ROWS)
    alone = Worker(device=worker.device)
    return batches_of(config, rows.read_at_least(size), bins, alone, size, latents=False).batch(0)


def _judged(config: TrainingConfig, data: Data, worker: Worker) -> Examples:
    rows = data.validation
    noisy = next(evaluation_batches(rows, data.bins, len(rows), config.seed))
    share = slice(worker.rank, None, worker.world)
    return Examples(noisy.x[share], None if noisy.context is None else noisy.context[share])
