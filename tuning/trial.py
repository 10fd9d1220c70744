"""One trial: what Ray Tune calls to train a candidate and to hear how good it is."""

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
from flowkd.training.inputs import Worker
from flowkd.training.shared import SharedData
from tuning.records import SearchRecords, TrialEnd

# Reported of a trial that failed: worse than any that learns.
FAILED_BITS_PER_DIM = 1e3
# Of the candidate itself. After any other, such as a store that is away, the trial begins again.
CANDIDATE_ERRORS = (ConfigError, NonFiniteError)


def train_trial(
    values: dict[str, Any],
    *,
    search: str,
    token: int,
    storage: StorageConfig,
    shared: SharedData | None,
) -> None:
    """Trains a trial; one that has ended before only reports again what it reported.

    Args:
        values: `number` of the trial, `training`, its run's config as a dictionary, `throughput`
            over the teacher's, or None, and `role`, None if it is no baseline.
        search: Name of the search.
        token: Number of the search's lease that its driver has.
        storage: Holds the search, its teacher and its data set.
        shared: Data and teacher's targets that all trials have in common; None for trials of
            several workers, which are runs of Ray Train.
    """
    records = SearchRecords(storage.store(), search, token)
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
            _train_here(config, shared, trial)
    except CANDIDATE_ERRORS as error:
        trial.fail(str(error))


class TrialReporter:
    """Reports a trial to Ray Tune, and writes its end.

    Args:
        records: Records of the search.
        number: Number of the trial.
        throughput: log_prob a second over the teacher's; None if it was not measured.

    Attributes:
        more: What each report to Ray Tune holds beside its figures.
        curve: (step, best bits per dimension) so far.
        seconds: Seconds of training so far.
    """

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
        """Reports how good it is after so many steps; an end is written before it is reported."""
        self.curve = [*self.curve, (step, bits)]
        if last:
            seconds = round(self.seconds, 3)
            self._end(TrialEnd("finished", self.curve, seconds, training=training))
        self._report(step, bits, checkpoint)

    def fail(self, reason: str) -> None:
        """Reports and writes that it failed."""
        self._end(TrialEnd("failed", self.curve, round(self.seconds, 3), reason))
        self._report_failure(self.curve, reason)

    def repeat(self, known: TrialEnd) -> None:
        """Reports again what was reported before its end."""
        self.seconds = known.seconds
        for step, bits in known.curve:
            self._report(step, bits)
        if known.state == "failed":
            self._report_failure(known.curve, known.reason)

    def _report_failure(self, curve: list[tuple[int, float]], reason: str) -> None:
        step = curve[-1][0] if curve else 0
        self.more = {**self.more, "failed": reason}
        self._report(step, FAILED_BITS_PER_DIM)

    def _end(self, ended: TrialEnd) -> None:
        self._records.end(self._number, ended)

    def _report(self, step: int, bits: float, checkpoint: tune.Checkpoint | None = None) -> None:
        told = {"step": step, "bits_per_dim": bits, "seconds": self.seconds, **self.more}
        tune.report(told, checkpoint=checkpoint)


def _train_here(config: TrainingConfig, shared: SharedData, trial: TrialReporter) -> None:
    torch.set_num_threads(config.scaling.cpus)
    device = "cuda" if config.scaling.gpu else "cpu"
    began = time.perf_counter()
    run = shared.prepare(config, Worker(device=device))
    for result in run.steps():
        if "validation_bits_per_dim" in run.record(result):
            trial.seconds += time.perf_counter() - began
            trial.add(run.step, run.best_bits_per_dim, last=run.step == config.train.steps)
            began = time.perf_counter()


class _ReportToTune(TuneReportCallback):
    """Passes on to Ray Tune what a run of Ray Train reports with each checkpoint."""

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
        """Reports rank 0's figures, without the checkpoint."""
        told = {
            "step": metrics[0]["step"],
            "bits_per_dim": metrics[0]["best_bits_per_dim"],
            "seconds": time.perf_counter() - self._began,
            **self._more,
        }
        super().after_report(run_context, [told], None)
