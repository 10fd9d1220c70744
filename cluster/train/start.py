"""Where a run is trained: in this process, or on Ray."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from cluster.local import connect, recorded
from cluster.storage import StorageConfig
from cluster.train.here import train_here
from cluster.train.preflight import result_of
from flowkd.training.config import TrainingConfig
from flowkd.training.estimate import estimated_seconds
from flowkd.training.logs.mlflow import tracked
from flowkd.training.resolve import resolve_run

RAY_START_SECONDS = 20.0  # from `ray start` to the first step of a training


def train_run(
    config: TrainingConfig, storage: StorageConfig, tell: Callable[[str], None] = lambda _: None
) -> str:
    """Trains a run where its `scaling.run_on` says; returns the reference of its result.

    Args:
        config: The training.
        storage: Store of data sets, runs and models.
        tell: Called with what was chosen where the config leaves it open, in words.

    Raises:
        FlowkdError: What `train_here` and `run_training` raise; no Ray could be started.
    """
    finished = result_of(config, storage.store())
    if finished:
        return finished
    here = is_for_here(config, storage)
    with tracked(config, storage.store(), tell):
        if here:
            return train_here(config, storage, tell)
        from cluster.train.launch import run_training  # which imports Ray

        connect()
        return run_training(config, storage, tell=tell)


def is_for_here(config: TrainingConfig, storage: StorageConfig) -> bool:
    """Tells whether a run is trained in this process, and says so where nobody asked for it.

    With `run_on: auto`, it is if it asks for one worker without a GPU, no cluster is named or runs,
    and it would end before a Ray of this machine had begun.
    """
    scaling = config.scaling
    if scaling.run_on != "auto":
        return scaling.run_on == "local"
    if scaling.workers > 1 or scaling.gpu or os.environ.get("RAY_ADDRESS") or recorded():
        return False
    torch.set_num_threads(scaling.cpus)
    seconds = estimated_seconds(resolve_run(config, storage.store()), RAY_START_SECONDS)
    if seconds >= RAY_START_SECONDS:
        return False
    print(f"in this process: about {max(1, seconds):.0f} s; --cluster asks for Ray", flush=True)
    return True
