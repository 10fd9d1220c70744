"""Checkpoints of a run that is trained without Ray Train, kept as Ray Train keeps its own.

Either goes on from what the other left: each checkpoint is a folder that is named by its time, and
Ray Train's snapshot lists those that count, the last one among them.
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from cluster.train.checkpoints import read_state, restore_run, save_run
from flowkd.errors import StoreError
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import SNAPSHOT, checkpoint_names
from flowkd.training.logs.metrics import RunLog
from flowkd.training.run import Run

KEPT = 2  # as Ray Train is told, too
# What Ray Train notes besides; a test has it go on from it.
NOTHING_ELSE: dict[str, Any] = {
    "pending_training_results": [],
    "pending_validation_specs": [],
    "validated_checkpoint_dir_names": [],
    "timed_out_validation_checkpoint_dir_names": [],
    "failed_validation_checkpoint_dir_names": [],
}


class LocalCheckpoints:
    """The checkpoints of a run.

    Args:
        store: Where they are.
        folder: Their folder there.
    """

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder

    def resume(self, run: Run) -> list[dict[str, Any]]:
        """Lets a run go on from the last one that is whole; returns the lines its log may lack."""
        device = next(run.objective.flow.parameters()).device
        names = checkpoint_names(self._store, self._folder)
        last = self._snapshot().get("latest_checkpoint_result")
        if last is not None:
            names = [name for name in names if name <= last["checkpoint_dir_name"]]
        for name in reversed(names):
            try:
                unwritten = restore_run(run, self._read(name, device))
            except StoreError as error:
                print(f"run {run.config.name!r}: {self._folder}/{name} is damaged: {error}")
                continue
            if name != names[-1]:
                print(f"run {run.config.name!r} goes on from {name}, step {run.step:,}")
            return unwritten
        if names:
            print(f"run {run.config.name!r} has no checkpoint that is whole: from the beginning")
        return []

    def _read(self, name: str, device: torch.device) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="flowkd-") as folder:
            for file in self._store.list(self._folder, name):
                Path(folder, file).write_bytes(self._store.read(self._folder, name, file))
            return read_state(Path(folder), device)

    def keep(self, run: Run, log: RunLog) -> None:
        """Writes one of a run as it is now; the last ones stay."""
        name = f"checkpoint_{datetime.now():%Y-%m-%d_%H-%M-%S.%f}"
        with tempfile.TemporaryDirectory(prefix="flowkd-") as folder:
            save_run(run, log, Path(folder))
            for file in sorted(Path(folder).iterdir()):
                self._store.write(file.read_bytes(), self._folder, name, file.name)
        known = self._snapshot()
        index = known.get("current_report_index", 0)
        metrics = {"step": run.step, "best_bits_per_dim": run.best_bits_per_dim}
        new = {"checkpoint_dir_name": name, "metrics": metrics}
        results = [*known.get("checkpoint_results", []), new]
        indices = [*known.get("checkpoint_report_indices", []), index]
        counts = {
            "checkpoint_results": results[-KEPT:],
            "checkpoint_report_indices": indices[-KEPT:],
            "latest_checkpoint_result": new,
            "current_report_index": index + 1,
        }
        self._store.write_json({**NOTHING_ELSE, **counts}, self._folder, SNAPSHOT)
        for old in results[:-KEPT]:
            self._store.remove(self._folder, old["checkpoint_dir_name"])

    def _snapshot(self) -> dict[str, Any]:
        path = (self._folder, SNAPSHOT)
        return self._store.read_json(*path) if self._store.exists(*path) else {}
