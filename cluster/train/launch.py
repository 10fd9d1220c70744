"""Runs a training on Ray Train, on any number of workers; of the same name, it is resumed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from ray.train import CheckpointConfig, FailureConfig, RunConfig, UserCallback
from ray.train import ScalingConfig as RayScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from cluster.storage import StorageConfig
from cluster.train.find_rate import rate_found
from cluster.train.placement import ResourceTimeout, explained_errors, resources_per_worker
from cluster.train.preemption import forget_stop, stops_on_sigterm
from cluster.train.preflight import check_name
from cluster.train.worker import train_worker
from flowkd.errors import NonFiniteError, StoppedError
from flowkd.training.config import TrainingConfig
from flowkd.training.resolve import record_run, resolve_run

ROOT = Path(__file__).parents[2]  # of the checkout, if this is one
# Each report of Ray Train costs one health check interval: 2 s by default. A much shorter one takes
# the CPU from the workers: RAY_TRAIN_HEALTH_CHECK_INTERVAL_S=0.1 make bench shows how much.
HEALTH_CHECK, HEALTH_CHECK_SECONDS = "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "1"


def run_training(
    config: TrainingConfig,
    storage: StorageConfig,
    callbacks: Sequence[UserCallback] = (),
    tell: Callable[[str], None] = lambda _: None,
) -> str:
    """Trains a run on the cluster that this process is connected to.

    A run of the same name and config goes on from its last checkpoint; a finished one is
    returned at once.

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
        StoppedError: SIGTERM came; the run can go on from where it was.
        InsufficientResourcesError: The cluster does not have what the workers take.
    """
    store = storage.store()
    reference = f"runs/{config.name}"
    check_name(config, store)
    if store.exists(reference, "result", "manifest.json"):
        return reference
    run = resolve_run(config, store)
    for note in run.notes:
        tell(note)
    if run.config.train.learning_rate == "find":
        tell("looking for the learning rate by short trainings on data alone")
    run = rate_found(run, storage)
    if run.found_rate is not None:
        tell(str(run.found_rate))
    record_run(config, run, store)
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
        },
        torch_config=TorchConfig(backend="nccl" if scaling.gpu else "gloo"),
        scaling_config=RayScalingConfig(
            num_workers=(scaling.least, scaling.workers) if elastic else scaling.workers,
            use_gpu=scaling.gpu,
            resources_per_worker=resources_per_worker(scaling),
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=f"{root}/{reference}",
            storage_filesystem=filesystem,
            failure_config=FailureConfig(
                max_failures=scaling.max_failures, controller_failure_limit=scaling.max_waits
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            callbacks=[*callbacks, *([ResourceTimeout(scaling.max_waits)] if elastic else [])],
        ),
    )
    with stops_on_sigterm(store, config.name), explained_errors(config.name, scaling):
        outcome = trainer.fit().return_value
    if outcome["error"]:
        raise NonFiniteError(f"run {config.name!r}: {outcome['error']}")
    if outcome["stopped"] is not None:
        forget_stop(store, config.name)
        raise StoppedError(
            f"run {config.name!r} was stopped after {outcome['stopped']} steps, of which it keeps "
            f"a checkpoint: the same command goes on from there"
        )
    return reference


def git_commit(root: Path = ROOT) -> str | None:
    """Returns the commit of a checkout of flowkd, by default of the code that runs.

    None where git is missing, or `root` is no checkout's own root: flowkd may be installed within
    another repository, whose commit says nothing of it.
    """
    try:
        asked = subprocess.run(
            ["git", "rev-parse", "--show-toplevel", "HEAD"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    top, commit = asked.stdout.splitlines()
    return commit if Path(top).resolve() == root.resolve() else None
