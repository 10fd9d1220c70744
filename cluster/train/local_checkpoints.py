"""Checkpoints that a run keeps when it is trained without Ray Train, beside those of Ray Train.

Both lie in `runs/RUN/checkpoints/` and hold the same files, so that a run goes on either way. Ray
Train lists its own in a snapshot; the others have their step in their name.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster.train.checkpoints import restore_run, save_run
from flowkd.store.store import Store
from flowkd.training.metrics_log import RunLog
from flowkd.training.run import Run

KEPT = 2  # as Ray Train is told, too
NAME = re.compile(r"checkpoint_.*-step(\d+)")  # the time comes first, as in Ray Train's names
SNAPSHOT = "checkpoint_manager_snapshot.json"


def keep_checkpoint(run: Run, log: RunLog, store: Store) -> None:
    """Writes a checkpoint of a run into the store, and removes all but the last ones."""
    place = _folder(run.config.name)
    name = f"checkpoint_{datetime.now():%Y-%m-%d_%H-%M-%S.%f}-step{run.step}"
    with tempfile.TemporaryDirectory(prefix="flowkd-") as folder:
        save_run(run, log, Path(folder))
        for file in sorted(Path(folder).iterdir()):
            store.write(file.read_bytes(), *place, name, file.name)
    for old in _ours(store, run.config.name)[:-KEPT]:
        store.remove(*place, old[1])


def resume_here(run: Run, store: Store) -> list[dict[str, Any]]:
    """Lets a run go on from its last checkpoint, Ray Train's or not, if there is any.

    Returns:
        The lines that its log may lack.

    Raises:
        StoreError: The checkpoint is cut off, or holds what none does.
    """
    known = [*_ours(store, run.config.name), *_of_ray(store, run.config.name)]
    return _resume(run, store, known) or []


def resume_later(run: Run, store: Store) -> list[dict[str, Any]] | None:
    """Lets a run, as Ray Train has resumed it, go on from a later checkpoint that it knows not of.

    Returns:
        The lines that its log may lack; None where there is no later one.

    Raises:
        StoreError: The checkpoint is cut off, or holds what none does.
    """
    return _resume(run, store, _ours(store, run.config.name))


def _resume(run: Run, store: Store, known: list[tuple[int, str]]) -> list[dict[str, Any]] | None:
    step, name = max(known, default=(0, ""))
    if step <= run.step:
        return None
    device = next(run.objective.flow.parameters()).device
    with _copied(store, *_folder(run.config.name), name) as folder:
        return restore_run(run, folder, device)


def _folder(run: str) -> tuple[str, ...]:
    return "runs", run, "checkpoints"


def _ours(store: Store, run: str) -> list[tuple[int, str]]:
    """Returns step and name of each checkpoint that was kept without Ray Train, oldest first."""
    found = (NAME.fullmatch(name) for name in store.list(*_folder(run)))
    return [(int(match[1]), match[0]) for match in found if match]


def _of_ray(store: Store, run: str) -> list[tuple[int, str]]:
    """Returns step and name of Ray Train's last checkpoint, if there is one."""
    path = (*_folder(run), SNAPSHOT)
    last = store.read_json(*path)["latest_checkpoint_result"] if store.exists(*path) else None
    return [(last["metrics"]["step"], last["checkpoint_dir_name"])] if last else []


@contextmanager
def _copied(store: Store, *path: str) -> Iterator[Path]:
    """Yields a folder of this machine with the objects of one in the store."""
    with tempfile.TemporaryDirectory(prefix="flowkd-") as folder:
        for name in store.list(*path):
            Path(folder, name).write_bytes(store.read(*path, name))
        yield Path(folder)
