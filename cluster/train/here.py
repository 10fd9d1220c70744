"""Trains a run in this process, without Ray, as one worker of Ray's would."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from cluster.storage import StorageConfig
from cluster.train.begin import begin
from cluster.train.commit import git_commit
from cluster.train.local_checkpoints import LocalCheckpoints
from cluster.train.preemption import STOP, StopWatch, stopped_error, stops_on_sigterm
from cluster.train.takeover import take_over_checkpoints
from flowkd.errors import NonFiniteError
from flowkd.store.lease_keeper import LeaseKeeper
from flowkd.training.checkpoint_folders import checkpoints_folder
from flowkd.training.choices.rate import with_rate
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import Worker, keeping_shards, load_data
from flowkd.training.logs.metrics import RunLog
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import record_run
from flowkd.training.run import Run


def train_here(
    config: TrainingConfig, storage: StorageConfig, tell: Callable[[str], None] = lambda _: None
) -> str:
    """Trains a run in this process; what it leaves in the store is what a worker of Ray's leaves.

    A run of the same name and config goes on from its last checkpoint, whoever left it; a finished
    one is returned at once.

    Args:
        config: The training, of one worker.
        storage: Store of data sets, runs and models.
        tell: Called with what was chosen where the config leaves it open, in words.

    Returns:
        The reference of the result, `runs/NAME`.

    Raises:
        ConfigError: The name is taken by a run of another config, or the config does not fit.
        NonFiniteError: A term became NaN or infinite.
        HeldError: Another process trains it.
        FencedError: Another process has taken it over, because this one stood still.
        StoppedError: SIGTERM came; the run can go on from where it was.
    """
    store, reference = storage.store(), f"runs/{config.name}"
    begun = begin(config, store, tell)
    if begun is None:
        return reference
    resolved, token = begun
    torch.set_num_threads(config.scaling.cpus)
    worker = Worker(device="cuda" if config.scaling.gpu else "cpu")
    with stops_on_sigterm(token), LeaseKeeper(token) as keeper:
        data = load_data(resolved, store)
        with keeping_shards(resolved, data):
            resolved = with_rate(resolved, data, store, worker, tell)
            run = prepare_run(resolved, data, worker)
        record_run(config, resolved, store)
        take_over_checkpoints(token)
        began = time.perf_counter()
        try:
            stopped = _train(run, keeper)
        except NonFiniteError as error:
            raise NonFiniteError(f"run {config.name!r}: {error}") from error
        if not stopped:
            run.finish(store, time.perf_counter() - began, token, git_commit())
    if stopped:
        raise stopped_error(config.name, run.step)
    return reference


def _train(run: Run, keeper: LeaseKeeper) -> bool:
    """Trains from the last checkpoint to the end; True where it is asked to stop before."""
    token = keeper.token
    checkpoints = LocalCheckpoints(token.store, checkpoints_folder(token))
    unwritten = checkpoints.resume(run)
    watch = StopWatch(token, looks=True)
    try:
        with RunLog(token.store, token.subject, run.step, unwritten, token.number) as log:
            for result in run.steps():
                keeper.check()
                line = run.record(result)
                if line:
                    log.append(line)
                looks = run.is_due(run.config.log_every) and not run.at_its_end
                stopping = looks and watch.asked == STOP
                if stopping or run.is_due(run.config.checkpoint_every):
                    run.count_dropped()
                    checkpoints.keep(run, log)
                if stopping:
                    return True
    finally:
        watch.close()
    return False
