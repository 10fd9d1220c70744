"""Runs a training on Ray Train, on any number of workers; of the same name, it is resumed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from ray.train import CheckpointConfig, FailureConfig, RunConfig, UserCallback
from ray.train import ScalingConfig as RayScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from cluster.held import held
from cluster.orphans import controllers_end, end_orphans
from cluster.storage import StorageConfig
from cluster.train.begin import begin
from cluster.train.commit import git_commit
from cluster.train.find_rate import rate_found
from cluster.train.placement import ResourceTimeout, explained_errors, resources_per_worker
from cluster.train.preemption import stopped_error, stops_on_sigterm
from cluster.train.resume import forget_damaged_snapshot
from cluster.train.takeover import take_over_checkpoints
from cluster.train.worker import train_worker
from flowkd.errors import FencedError, NonFiniteError
from flowkd.store.lease import Token
from flowkd.training.config import TrainingConfig
from flowkd.training.resolve import record_run
from flowkd.training.resolved import ResolvedRun

# Each report of Ray Train costs one health check interval: 2 s by default. A much shorter one takes
# the CPU from the workers: RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=0.1 make bench-train shows how much.
HEALTH_CHECK, HEALTH_CHECK_SECONDS = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1"


def run_training(
    config: TrainingConfig,
    storage: StorageConfig,
    callbacks: Sequence[UserCallback] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> str:
    """Trains a run on the cluster that this process is connected to.

    A run of the same name and config goes on from its last checkpoint, and so does a finished one
    that is to have more steps; else a finished one is returned at once.

    Args:
        config: The training.
        storage: Store of data sets, runs and models.
        callbacks: Called by Ray Train with what workers report; default none.
        tell: Called with what was chosen where the config leaves it open, in words.

    Returns:
        The reference of the result, `runs/NAME`.

    Raises:
        ConfigError: The name is taken by a run of another config, or the config does not fit.
        NonFiniteError: A term became NaN or infinite.
        HeldError: Another process trains it.
        FencedError: Another process has taken it over, because this one stood still.
        StoppedError: SIGTERM came; the run can go on from where it was.
        InsufficientResourcesError: The cluster does not have what the workers take.
    """
    store, reference = storage.store(), f"runs/{config.name}"
    begun = begin(config, store, tell)
    if begun is None:
        return reference
    run, token = begun
    with held(token):
        run = rate_found(run, storage, tell)
        record_run(config, run, store)
        take_over_checkpoints(token)
        forget_damaged_snapshot(token)
        _fit(config, run, storage, token, callbacks)
    return reference


def _fit(
    config: TrainingConfig,
    run: ResolvedRun,
    storage: StorageConfig,
    token: Token,
    callbacks: Sequence[UserCallback],
) -> None:
    """Trains on Ray Train; raises what becomes of it."""
    os.environ.setdefault(HEALTH_CHECK, HEALTH_CHECK_SECONDS)  # `fit` passes it to its controller
    filesystem, root = storage.ray_filesystem()
    scaling = config.scaling
    elastic = scaling.least < scaling.workers
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={
            "run": run.model_dump(mode="json"),
            "storage": storage.model_dump(mode="json"),
            "commit": git_commit(),
            "token": token.number,
        },
        torch_config=TorchConfig(backend="nccl" if scaling.gpu else "gloo"),
        scaling_config=RayScalingConfig(
            num_workers=(scaling.least, scaling.workers) if elastic else scaling.workers,
            use_gpu=scaling.gpu,
            resources_per_worker=resources_per_worker(scaling),
        ),
        run_config=RunConfig(
            name=token.name,
            storage_path=f"{root}/runs/{config.name}/checkpoints",
            storage_filesystem=filesystem,
            failure_config=FailureConfig(
                max_failures=scaling.max_failures, controller_failure_limit=scaling.max_waits
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            callbacks=[*callbacks, *([ResourceTimeout(scaling.max_waits)] if elastic else [])],
        ),
    )
    end_orphans()  # of drivers before this one, that were killed
    with controllers_end(), stops_on_sigterm(token), explained_errors(config.name, scaling):
        outcome = trainer.fit().return_value
    if outcome["fenced"] is not None:
        raise FencedError(outcome["fenced"])
    if outcome["error"]:
        raise NonFiniteError(f"run {config.name!r}: {outcome['error']}")
    if outcome["stopped"] is not None:
        raise stopped_error(config.name, outcome["stopped"])
