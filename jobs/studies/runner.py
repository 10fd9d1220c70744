"""Trains and measures the runs of studies as Ray tasks, but for those in the store already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cluster.ray_tasks import TaskPool
from cluster.storage import StorageConfig
from cluster.train.commit import git_commit
from flowkd.errors import NonFiniteError
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.setup import run_in_process
from jobs.studies.choices import advance, choose, known_runs
from jobs.studies.config import TEACHER, StudyConfig
from jobs.studies.measure import RunFigures, ThroughputRatio, run_figures, throughput_ratio
from jobs.studies.outcomes import RunOutcome, find_outcome, record_failure
from jobs.studies.plan import PlannedRun, plan


@dataclass(frozen=True)
class StudyProgress:
    """A run that has just ended, and how many of the runs known by now have."""

    run: str
    outcome: RunOutcome
    ended: int
    known: int


def train_studies(
    configs: Sequence[StudyConfig],
    storage: StorageConfig,
    outcomes: dict[str, RunOutcome],
    *,
    workers: int | None = None,
    replace: bool = False,
) -> Iterator[StudyProgress]:
    """Trains all runs of studies that have not ended yet, and yields them as they end.

    A run that diverges is recorded and not tried again; one that fails otherwise is tried again by
    the next call. The others go on.

    Args:
        configs: The studies; their data sets are prepared.
        storage: Holds runs, data sets and studies.
        outcomes: Outcomes by name; those of all runs are added.
        workers: The most runs at once; default as many as the cluster has CPUs for.
        replace: Whether to train runs anew whose config has changed.

    Raises:
        ConfigError: The name of a run is taken by one of another config.
    """
    store, commit = storage.store(), git_commit()
    pool = TaskPool(workers)
    running: dict[str, PlannedRun] = {}
    while True:
        for run in advance(configs, store, outcomes, replace=replace):
            name = run.config.name
            if name not in running:
                running[name] = run
                pool.submit(name, train_run, run.config, storage, commit)
        if not len(pool):
            return
        name, failed = pool.next()
        outcomes[name] = _outcome(running[name], failed, store, outcomes)
        known = known_runs(configs, store, outcomes)
        ended = sum(run.config.name in outcomes for run in known)
        yield StudyProgress(name, outcomes[name], ended, len(known))


def train_run(config: TrainingConfig, storage: StorageConfig, commit: str | None) -> str | None:
    """Trains a run in this process, with its log; returns why it diverged, or None."""
    store = storage.store()
    _load_optimisers()
    try:
        for _ in run_in_process(config, store, commit):
            pass
    except NonFiniteError as error:
        record_failure(store, config, str(error))
        return str(error)
    return None


def measure_study(
    config: StudyConfig,
    storage: StorageConfig,
    outcomes: Mapping[str, RunOutcome],
    *,
    workers: int | None = None,
) -> dict[str, RunFigures]:
    """Returns the figures of a study's finished runs, by name."""
    store = storage.store()
    pool = TaskPool(workers)
    figures = {}
    for run in _finished(config, store, outcomes):
        pool.submit(run.config.name, run_figures, config, run.config.name, store)
    while len(pool):
        name, found = pool.next()
        if isinstance(found, BaseException):
            raise found
        figures[name] = found
    return figures


def time_study(
    config: StudyConfig, storage: StorageConfig, outcomes: Mapping[str, RunOutcome]
) -> dict[str, ThroughputRatio]:
    """Returns the finished students' throughput over the teacher's; nothing else must run."""
    store = storage.store()
    finished = _finished(config, store, outcomes)
    teachers = [run.config.name for run in finished if run.row.arm == TEACHER]
    by_shape: dict[str, ThroughputRatio] = {}
    ratios = {}
    for run in finished:
        if run.row.arm == TEACHER or not teachers:
            continue
        assert run.config.flow is not None
        shape = run.config.flow.model_dump_json()
        if shape not in by_shape:
            by_shape[shape] = throughput_ratio(config, teachers[0], run.config.name, store)
        ratios[run.config.name] = by_shape[shape]
    return ratios


def _finished(
    config: StudyConfig, store: Store, outcomes: Mapping[str, RunOutcome]
) -> list[PlannedRun]:
    planned = plan(config, choose(config, outcomes, store))
    ended = [run for run in planned if run.reported and run.config.name in outcomes]
    return [run for run in ended if not outcomes[run.config.name].failed]


def _outcome(
    run: PlannedRun, failed: Any, store: Store, outcomes: Mapping[str, RunOutcome]
) -> RunOutcome:
    if isinstance(failed, BaseException):
        return RunOutcome(failed=f"{type(failed).__name__}: {failed}")
    found = find_outcome(store, run, outcomes)
    return found or RunOutcome(failed=str(failed))


def _load_optimisers() -> None:
    """Makes torch import what its first optimiser needs, which takes 2 CPU seconds."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
