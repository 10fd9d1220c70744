"""One trial: trains a candidate and reports how good it is, as Ray Tune asks for it."""

from __future__ import annotations

import time
from typing import Any

import torch
from ray import tune
from ray.train import Checkpoint
from ray.train.v2._internal.execution.context import TrainRunContext
from ray.tune.integration.ray_train import TuneReportCallback

from cluster.storage import StorageConfig
from cluster.train.launch import run_training
from flowkd.errors import ConfigError, NonFiniteError
from flowkd.training.config import TrainingConfig
from flowkd.training.prepare import prepare_run
from flowkd.training.shared import Shared
from tuning.records import SearchRecords, TrialEnd

# What a trial that failed counts for the search, in bits per dimension: worse than any that learns.
FAILED_BITS_PER_DIM = 1e3
# All else, such as a store that is away, is no candidate's fault: the trial is begun again.
CANDIDATE_ERRORS = (ConfigError, NonFiniteError)


def train_trial(
    values: dict[str, Any], *, search: str, storage: StorageConfig, shared: Shared | None
) -> None:
    """Trains a trial, unless it has ended before: then it only says again what it said.

    Args:
        values: `number`, `training`: a dumped config; `throughput` or None.
        search: Name of the search.
        storage: Where everything is kept.
        shared: What all trials have in common; None for trials of several workers, which Ray Train
            runs.
    """
    records = SearchRecords(storage.store(), search)
    number, throughput = values["number"], values["throughput"]
    trial = TrialReporter(records, number, throughput)
    known = records.ended(number)
    if known is not None:
        trial.repeat(known)
        return
    config = TrainingConfig.model_validate(values["training"])
    try:
        if shared is None:
            run_training(config, storage, callbacks=[_ReportToTune(trial.more)])
        else:
            _train_here(config, storage, shared, trial)
    except CANDIDATE_ERRORS as error:
        trial.fail(str(error))


class TrialReporter:
    """What a trial says of itself."""

    def __init__(self, records: SearchRecords, number: int, throughput: float | None) -> None:
        self._records = records
        self._number = number
        self.more: dict[str, Any] = {} if throughput is None else {"throughput": throughput}
        self.curve: list[tuple[int, float]] = []
        self.seconds = 0.0

    def add(
        self,
        step: int,
        bits: float,
        last: bool,
        training: dict[str, Any] | None = None,
        checkpoint: tune.Checkpoint | None = None,
    ) -> None:
        """Tells how good it is after so many steps; its end is kept before Tune hears of it."""
        self.curve = [*self.curve, (step, bits)]
        if last:
            seconds = round(self.seconds, 3)
            self._end(TrialEnd("finished", self.curve, seconds, training=training))
        self._tell(step, bits, checkpoint)

    def fail(self, reason: str) -> None:
        """Tells that it cannot be trained, or not further."""
        self._end(TrialEnd("failed", self.curve, round(self.seconds, 3), reason))
        self._tell_failure(self.curve, reason)

    def repeat(self, known: TrialEnd) -> None:
        """Tells again what was told before its end."""
        self.seconds = known.seconds
        for step, bits in known.curve:
            self._tell(step, bits)
        if known.state == "failed":
            self._tell_failure(known.curve, known.reason)

    def _tell_failure(self, curve: list[tuple[int, float]], reason: str) -> None:
        step = curve[-1][0] if curve else 0
        self.more = {**self.more, "failed": reason}
        self._tell(step, FAILED_BITS_PER_DIM)

    def _end(self, ended: TrialEnd) -> None:
        self._records.end(self._number, ended)

    def _tell(self, step: int, bits: float, checkpoint: tune.Checkpoint | None = None) -> None:
        told = {"step": step, "bits_per_dim": bits, "seconds": self.seconds, **self.more}
        tune.report(told, checkpoint=checkpoint)


def _train_here(
    config: TrainingConfig, storage: StorageConfig, shared: Shared, trial: TrialReporter
) -> None:
    torch.set_num_threads(config.scaling.cpus)
    device = "cuda" if config.scaling.gpu else "cpu"
    began = time.perf_counter()
    run = prepare_run(config, storage.store(), device=device, shared=shared)
    for result in run.steps():
        if "validation_bits_per_dim" in run.record(result):
            trial.seconds += time.perf_counter() - began
            trial.add(run.step, run.best_bits_per_dim, last=run.step == config.train.steps)
            began = time.perf_counter()


class _ReportToTune(TuneReportCallback):
    """Tells Tune what a worker reports with each checkpoint, in the words of a search."""

    def __init__(self, more: dict[str, Any]) -> None:
        super().__init__()
        self._more = more
        self._began = time.perf_counter()

    def after_report(
        self,
        run_context: TrainRunContext,
        metrics: list[dict[str, Any]],
        checkpoint: Checkpoint | None,
    ) -> None:
        """Passes on rank 0's figures; the checkpoint stays Ray Train's."""
        told = {
            "step": metrics[0]["step"],
            "bits_per_dim": metrics[0]["best_bits_per_dim"],
            "seconds": time.perf_counter() - self._began,
            **self._more,
        }
        super().after_report(run_context, [told], None)
