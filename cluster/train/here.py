"""Trains a run in this process, without Ray, as one worker of Ray's would."""

from __future__ import annotations

import time

import torch

from cluster.storage import StorageConfig
from cluster.train.commit import git_commit
from cluster.train.local_checkpoints import LocalCheckpoints
from cluster.train.preemption import StopWatch, forget_stop, stopped_error, stops_on_sigterm
from cluster.train.preflight import result_of
from flowkd.errors import NonFiniteError
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import Worker, load_data
from flowkd.training.metrics_log import RunLog
from flowkd.training.resolve import record_run, resolve_run
from flowkd.training.run import Run
from flowkd.training.setup import prepare_run


def train_here(config: TrainingConfig, storage: StorageConfig) -> str:
    """Trains a run in this process; what it leaves in the store is what a worker of Ray's leaves.

    A run of the same name and config goes on from its last checkpoint, whoever left it; a finished
    one is returned at once.

    Args:
        config: The training, of one worker.
        storage: Store of data sets, runs and models.

    Returns:
        The reference of the result, `runs/NAME`.

    Raises:
        ConfigError: The name is taken by a run of another config, or the config does not fit.
        NonFiniteError: A term became NaN or infinite.
        StoppedError: SIGTERM came; the run can go on from where it was.
    """
    store = storage.store()
    finished = result_of(config, store)
    if finished:
        return finished
    torch.set_num_threads(config.scaling.cpus)
    resolved = resolve_run(config, store)
    worker = Worker(device="cuda" if config.scaling.gpu else "cpu")
    with stops_on_sigterm(store, config.name):
        run = prepare_run(resolved, load_data(resolved, store), worker)
        record_run(config, resolved, store)
        began = time.perf_counter()
        try:
            stopped = _train(run, store)
        except NonFiniteError as error:
            raise NonFiniteError(f"run {config.name!r}: {error}") from error
        if not stopped:
            run.finish(store, time.perf_counter() - began, git_commit())
    if stopped:
        forget_stop(store, config.name)
        raise stopped_error(config.name, run.step)
    return f"runs/{config.name}"


def _train(run: Run, store: Store) -> bool:
    """Trains from the last checkpoint to the end; True where it is asked to stop before."""
    checkpoints = LocalCheckpoints(store, f"runs/{run.config.name}/checkpoints")
    unwritten = checkpoints.resume(run)
    watch = StopWatch(store, run.config.name, looks=True)
    try:
        with RunLog(store, run.config.name, run.step, unwritten) as log:
            for result in run.steps():
                line = run.record(result)
                if line:
                    log.append(line)
                last = run.step == run.config.train.steps
                stopping = watch.asked and run.is_due(run.config.log_every) and not last
                if stopping or run.is_due(run.config.checkpoint_every):
                    run.count_dropped()
                    checkpoints.keep(run, log)
                if stopping:
                    return True
    finally:
        watch.close()
    return False
