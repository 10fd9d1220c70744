"""What a run is given: flows and rows from the store, and the batches that are made of them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch

from flowkd.data.batch import Batch, BatchSource
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.loader import BatchLoader
from flowkd.data.reading import StoredRows, load_split
from flowkd.data.rows import Examples
from flowkd.distillation.teacher_samples import FreshSamples
from flowkd.flows.flow import Flow
from flowkd.flows.teacher import Teacher
from flowkd.registry.pins import load_pinned
from flowkd.store.store import Store
from flowkd.training.foreign_teacher import PinnedForeign, load_foreign
from flowkd.training.resolved import ResolvedRun

# Rows on which a flow's round trip is measured at each validation.
PROBE_ROWS = 64


@dataclass(frozen=True)
class TeacherData:
    """What a teacher has said already: to all runs of the same rows, seed, samples and cache.

    Attributes:
        targets: The rows to train on, noise included, with its targets; None: not known.
        samples: Its samples to learn from, with targets where those are kept; None: not known.
        dropped: How many more samples were of no use.
    """

    targets: Examples | None = None
    samples: Examples | None = None
    dropped: int = 0


@dataclass(frozen=True)
class RunData:
    """What a run reads: flows, and rows in data units. Runs may share it.

    Attributes:
        train: Rows to learn from, of which each worker reads its own; None for no data set.
        validation: Rows to be judged on; None for no data set.
        bins: Number of integer values of x; None if x is continuous.
        teacher: Gradients off; None for maximum likelihood.
        source: The flow that a student begins from; None where it begins at random.
        known: What the teacher has said already; it changes nothing but the time.
    """

    train: StoredRows | Examples | None
    validation: Examples | None
    bins: int | None
    teacher: Teacher | None = None
    source: Flow | None = None
    known: TeacherData = field(default_factory=TeacherData)

    def without_context(self) -> RunData:
        """Returns it for a flow that is not conditioned."""
        train = self.train.without_context() if self.train is not None else None
        validation = self.validation.without_context() if self.validation is not None else None
        return replace(self, train=train, validation=validation)


@dataclass(frozen=True)
class RunInputs:
    """What a run is given, ready to be trained on.

    Attributes:
        batches: To learn from, this worker's share.
        calibration: To begin from, the same on all workers.
        validation: To be judged on, this worker's share, noise included.
        probe: The first rows of validation, the same on all workers, which the flow has to undo.
        fresh: What draws teacher samples anew at every step, if anything does.
        dropped: How many of the samples drawn before training were of no use.
    """

    batches: BatchSource
    calibration: Batch
    validation: Examples
    probe: Examples
    fresh: FreshSamples | None = None
    dropped: int = 0


@dataclass(frozen=True)
class Worker:
    """One of the processes that train a run together.

    Attributes:
        rank: Number of the process, from 0; default 0.
        world: Number of processes; default 1.
        device: Device that it computes on; default the CPU.
    """

    rank: int = 0
    world: int = 1
    device: torch.device | str = "cpu"


def load_data(run: ResolvedRun, store: Store) -> RunData:
    """Reads what a run needs; the rows to train on are read by its batches, as they come.

    Raises:
        DataError: Shards that are missing or damaged.
        StoreError: Flows that are.
    """
    teacher: Teacher | None = None
    source = None
    if isinstance(run.teacher, PinnedForeign):
        teacher = load_foreign(run.teacher)
    elif run.teacher is not None:
        flow = load_pinned(store, run.teacher)
        teacher, source = flow, flow if run.source == run.teacher else None
    if run.source is not None and source is None:
        source = load_pinned(store, run.source)
    if run.manifest is None:
        return RunData(None, None, run.bins, teacher, source)
    train = StoredRows(store, run.manifest, "train", limit=run.config.train_rows)
    judged = load_split(store, run.manifest, "val", limit=run.config.validation_rows)
    data = RunData(train, judged, run.bins, teacher, source)
    return data if run.flow.context_spec.width else data.without_context()


def keeping_shards(run: ResolvedRun, data: RunData) -> AbstractContextManager[None]:
    """Returns what, while it is entered, has this process read each shard once.

    The learning rate, bounds, contexts, batches and calibration ask for the same shards, one after
    the other. What is kept is in memory beside what the batches keep, so it gets half of the room.
    """
    if isinstance(data.train, StoredRows):
        return data.train.keeping(run.config.scaling.resident_gib / 2)
    return nullcontext()


def make_inputs(
    run: ResolvedRun,
    data: RunData,
    worker: Worker,
    batches: BatchSource,
    fresh: FreshSamples | None = None,
    dropped: int = 0,
) -> RunInputs:
    """Returns what a run on these rows is given, to learn from these batches."""
    assert data.train is not None
    assert data.validation is not None
    size = run.calibration_rows
    first = loader(
        run, data.train.read_at_least(size), data.bins, Worker(device=worker.device), size
    )
    judged = next(
        evaluation_batches(data.validation, data.bins, len(data.validation), run.config.seed)
    )
    validation = _rows(judged, slice(worker.rank, None, worker.world))
    probe = _rows(judged, slice(PROBE_ROWS))
    return RunInputs(batches, first.batch(0), validation, probe, fresh, dropped)


def loader(
    run: ResolvedRun,
    rows: StoredRows | Examples,
    bins: int | None,
    worker: Worker,
    batch_size: int | None = None,
    latents: bool = False,
) -> BatchLoader:
    """Returns a worker's share of shuffled batches of rows.

    Args:
        run: The run that sets seed, batch size and memory.
        rows: In memory, or in the store.
        bins: Number of integer values of x; None if x is continuous.
        worker: The process whose share is returned.
        batch_size: Rows over all workers, if other than the run's.
        latents: Whether batches carry noise, for a term that wants it.
    """
    return BatchLoader(
        rows,
        batch_size=batch_size or run.config.batch_size,
        seed=run.config.seed,
        bins=bins,
        latents=latents,
        rank=worker.rank,
        world=worker.world,
        device=worker.device,
        memory_gib=run.config.scaling.resident_gib,
    )


def _rows(judged: Batch, rows: slice) -> Examples:
    return Examples(judged.x[rows], None if judged.context is None else judged.context[rows])
