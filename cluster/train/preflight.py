"""What can be checked of a training before Ray starts, which takes minutes to find out else."""

from __future__ import annotations

import os
from typing import Any

import torch
import yaml

from cluster.local import least_cpus, recorded
from cluster.storage import StorageConfig
from flowkd.config import parse_config
from flowkd.errors import ConfigError
from flowkd.store.sealed import read_sealed_text
from flowkd.store.store import Store
from flowkd.training.config import MAY_CHANGE, ScalingConfig, TrainingConfig
from flowkd.training.growth import check_growth, is_finished, with_steps
from flowkd.training.resolve import check_not_removed, resolve_run
from flowkd.training.train_config import TrainConfig


def check_training(config: TrainingConfig, storage: StorageConfig) -> None:
    """Checks a training and what it refers to.

    Raises:
        ConfigError: The name is taken by a run of another config; flow, data set, teacher, hints
            and warm start do not go together.
        DataError: No such data set.
        StoreError: No such teacher.
    """
    store = storage.store()
    check_name(config, store)
    resolve_run(config, store)


def check_shared(storage: StorageConfig) -> None:
    """Raises StoreError where Ray's processes cannot share a store."""
    storage.ray_filesystem()


def check_warmup(train: TrainConfig) -> None:
    """Raises ConfigError where the learning rate would never reach its peak."""
    if train.warmup_steps >= train.steps:
        raise ConfigError(
            f"train.warmup_steps: expected fewer than the {train.steps} of train.steps; got "
            f"{train.warmup_steps}: the learning rate would never reach its peak"
        )


def check_machine(scaling: ScalingConfig) -> None:
    """Raises ConfigError for workers that a Ray of this machine could never hold.

    Of another cluster, named by RAY_ADDRESS, nothing is known before it is asked.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    if scaling.gpu and torch.cuda.device_count() < scaling.least:
        raise ConfigError(
            f"scaling.gpu: expected {scaling.least} GPUs for as many workers on this machine; got "
            f"{torch.cuda.device_count()}: lower scaling.workers, leave gpu out, or name a cluster "
            f"by RAY_ADDRESS"
        )
    wanted, there = scaling.least * scaling.cpus, least_cpus()
    if recorded() is None and wanted > there:
        raise ConfigError(
            f"scaling: expected at most the {there} CPUs of a Ray of this machine; got "
            f"{scaling.least} workers of {scaling.cpus}: lower scaling.workers or scaling.cpus, or "
            f"name a cluster by RAY_ADDRESS"
        )


def check_name(config: TrainingConfig, store: Store) -> None:
    """Raises ConfigError where a run of this name has another config, but for steps that grow."""
    check_not_removed(store, config.name)
    path = ("runs", config.name, "config.yaml")
    if not store.exists(*path):
        return
    values = yaml.safe_load(read_sealed_text(store, *path))
    known = parse_config(TrainingConfig, values, source="/".join(path))
    grown = with_steps(known, config.train.steps)
    before, now = (run.model_dump(mode="json", exclude={*MAY_CHANGE}) for run in (grown, config))
    difference = _first_difference(before, now)
    if difference:
        raise ConfigError(
            f"run {config.name!r} exists in {store.uri} with another config: {difference}; "
            f"choose another name, or `flowkd runs remove {config.name}` first"
        )
    check_growth(known, config.train.steps, store)


def result_of(config: TrainingConfig, store: Store) -> str | None:
    """Returns the reference of a run's result, `runs/NAME`, if it is finished, else None.

    Raises:
        ConfigError: The name is taken by a run of another config.
    """
    check_name(config, store)
    return f"runs/{config.name}" if is_finished(store, config) else None


def _first_difference(known: Any, now: Any, path: str = "") -> str | None:
    if isinstance(known, dict) and isinstance(now, dict):
        inner = (
            _first_difference(known.get(key), now.get(key), f"{path}.{key}".lstrip("."))
            for key in known | now
        )
        return next((found for found in inner if found), None)
    return None if known == now else f"{path} was {known!r}, now {now!r}"
