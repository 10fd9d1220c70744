"""Which checkpoint a training goes on from: the last one that is whole.

Ray Train knows one checkpoint, the last. Where that is damaged, the one before it is taken, of
those that lie in the store; a run ends alike from whichever it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from ray.train import Checkpoint
from ray.train.v2._internal.execution.checkpoint.checkpoint_manager import _CheckpointManagerState

from cluster.storage import StorageConfig
from cluster.train.checkpoints import read_state, restore_run
from flowkd.errors import FlowkdError
from flowkd.registry.catalog import said_of
from flowkd.store.lease import Token
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import (
    BEGUN,
    SNAPSHOT,
    checkpoint_names,
    checkpoints_folder,
)
from flowkd.training.run import OverWorkers, Run, alone


def last_checkpoint() -> str | None:
    """Returns the name of the checkpoint that Ray Train offers this worker; None for none."""
    checkpoint = ray.train.get_checkpoint()
    return PurePosixPath(checkpoint.path).name if checkpoint is not None else None


def resume_run(
    run: Run,
    storage: StorageConfig,
    folder: str,
    last: str | None,
    over_workers: OverWorkers = alone,
    *,
    tells: bool = True,
) -> list[dict[str, Any]]:
    """Goes on from the last checkpoint that every worker can read, if there is one.

    Args:
        run: At its beginning.
        storage: Holds its checkpoints.
        folder: Where they lie in it.
        last: Name of the one that Ray Train knows as the last; None where it knows none, and those
            that lie in the store are tried.
        over_workers: Adds up over them, if there are several.
        tells: Whether this worker tells what is damaged.

    Returns:
        The lines that its log may lack.
    """
    name = run.config.name
    device = next(run.objective.flow.parameters()).device
    damaged = False
    for candidate in _same_on_all(_candidates(storage.store(), folder, last)):
        state, fault = _read(storage, f"{folder}/{candidate}", device)
        if not over_workers(torch.tensor([float(state is None)])).item():
            assert state is not None
            unwritten = restore_run(run, state)
            if damaged and tells:
                print(f"run {name!r} goes on from {candidate}, step {run.step:,}", flush=True)
            return unwritten
        damaged = True
        if tells:
            print(f"run {name!r}: {fault or f'another worker cannot read {candidate}'}", flush=True)
    if damaged and tells:
        print(f"run {name!r} has no checkpoint that is whole: from the beginning", flush=True)
    return []


def forget_damaged_snapshot(token: Token) -> None:
    """Removes Ray Train's list of a run's checkpoints where Ray could not read it, and says so.

    It is written by Ray, without a checksum. Without it, workers look for checkpoints themselves.
    """
    store, folder = token.store, checkpoints_folder(token)
    path = f"{folder}/{SNAPSHOT}"
    if not store.exists(path):
        return
    fault = _fault_of_snapshot(store.read(path), checkpoint_names(store, folder))
    if fault:
        print(f"{token}: {path} is damaged: {fault}: going on without it", flush=True)
        store.write(b"", folder, BEGUN)  # without either, the folder would not count
        store.remove(path)


def _fault_of_snapshot(data: bytes, known: Sequence[str]) -> str | None:
    try:
        state = _CheckpointManagerState.parse_obj(json.loads(data))
    except Exception as error:  # pydantic's of either version, and JSON's
        return (str(error).splitlines() or [type(error).__name__])[0]
    named = [each.checkpoint_dir_name for each in state.checkpoint_results]
    if len(named) != len(state.checkpoint_report_indices):
        return "its lists are of different lengths"
    others = [*state.pending_training_results]
    if state.latest_checkpoint_result is not None:
        others.append(state.latest_checkpoint_result)
    gone = [name for name in named if name not in known]
    gone += [each.checkpoint_dir_name for each in others if each.checkpoint_dir_name not in named]
    return f"it names {gone[0]!r}, which is not there" if gone else None


def _candidates(store: Store, folder: str, last: str | None) -> list[str]:
    """Returns names of checkpoints, the last first; they are named by their time."""
    names = checkpoint_names(store, folder)
    return [name for name in reversed(names) if last is None or name <= last]


def _read(
    storage: StorageConfig, path: str, device: torch.device
) -> tuple[dict[str, Any] | None, str]:
    """Returns the state that a checkpoint holds; None with what is wrong where it is damaged."""
    filesystem, root = storage.ray_filesystem()
    try:
        with Checkpoint(f"{root}/{path}", filesystem).as_directory() as folder:
            return read_state(Path(folder), device), ""
    except (FlowkdError, OSError) as error:
        said_of(error)
        return None, f"{path} is damaged: {error}"


def _same_on_all(names: list[str]) -> list[str]:
    """Returns the first worker's list of names, on every worker."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return names
    box = [names]
    dist.broadcast_object_list(box, src=0)
    return box[0]
