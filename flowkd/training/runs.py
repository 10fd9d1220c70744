"""The runs of a store: how far each came, and how to remove the checkpoints that may go."""

from __future__ import annotations

from typing import Any, Literal

import yaml

from flowkd.config import Config
from flowkd.errors import StoreError
from flowkd.registry.catalog import said_of
from flowkd.store.sealed import read_sealed_text
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import (
    REMOVING,
    SNAPSHOT,
    current_checkpoints,
    current_folder,
)
from flowkd.training.growth import result_steps
from flowkd.training.logs.metrics import read_log
from flowkd.training.outcome import BITS, judged_of

RunStatus = Literal["finished", "failed", "removing", "unfinished"]


class RunState(Config):
    """How far a training run came.

    Attributes:
        run: Name of the run.
        state: `finished`: its result is there; `failed`: for good; `removing`: it is removed in
            part; `unfinished`: none of these.
        step: Last step in its metrics; None where these are damaged.
        validation_bits_per_dim: Lowest value so far; None before the first.
        best_step: Steps before that validation, whose weights are kept; None before the first.
        warning: What the last validation has to warn of; None for nothing.
        checkpoints: Names of the checkpoints that are kept, oldest first.
        damage: What cannot be read of its records, and why; None where all can.
    """

    run: str
    state: RunStatus
    step: int | None
    validation_bits_per_dim: float | None
    best_step: int | None
    warning: str | None
    checkpoints: tuple[str, ...]
    damage: str | None = None


def run_states(store: Store) -> list[RunState]:
    """Returns all runs, by name, those whose records are damaged among them."""
    return [run_state(store, run) for run in store.list("runs")]


def run_state(store: Store, run: str) -> RunState:
    """Returns how far a run came.

    Raises:
        StoreError: No run of this name.
    """
    known = store.list("runs")
    if run not in known:
        raise StoreError(f"no run {run!r} in {store.uri}; there are {', '.join(known) or 'none'}")
    log, damage = [], None
    try:
        log = read_log(store, run)
        for name in ("config.yaml", "resolved.yaml"):
            if store.exists("runs", run, name):
                read_sealed_text(store, "runs", run, name)
    except StoreError as error:
        damage = said_of(error)
    judged = judged_of(log)
    best = min(judged, key=lambda line: line[BITS], default={})
    state: RunStatus = "unfinished"
    if store.exists("runs", run, REMOVING):
        state = "removing"
    elif _has_whole_result(store, run):
        state = "finished"
    elif store.exists("runs", run, "failure.json"):
        state = "failed"
    return RunState(
        run=run,
        state=state,
        step=log[-1]["step"] if log else (None if damage else 0),
        validation_bits_per_dim=best.get(BITS),
        best_step=best.get("step"),
        warning=judged[-1].get("warning") if judged else None,
        checkpoints=tuple(current_checkpoints(store, run)),
        damage=damage,
    )


def prune_checkpoints(
    store: Store, keep: int, run: str | None = None, *, dry_run: bool = False
) -> list[str]:
    """Removes all but the last checkpoints of a run, or of all; results and metrics stay.

    A run that is not finished keeps two at least, as the last may be damaged, and those that Ray
    Train's snapshot names: it could not go on without them. What was written by a process that
    another had fenced out is removed. No lineage names a checkpoint.

    Args:
        store: Where the runs lie.
        keep: How many checkpoints of a run stay, at least 1.
        run: Name of the run; default all.
        dry_run: Removes nothing.

    Returns:
        Paths of the removed folders.

    Raises:
        StoreError: No run of this name, or none to keep.
    """
    if keep < 1:
        raise StoreError(f"expected to keep at least 1 checkpoint; got {keep}")
    runs = [run_state(store, run)] if run is not None else run_states(store)
    removed = [path for each in runs for path in _to_remove(store, each, keep)]
    if not dry_run:
        for path in removed:
            store.remove(path)
    return removed


def _to_remove(store: Store, state: RunState, keep: int) -> list[str]:
    folder = current_folder(store, state.run)
    if folder is None:
        return []
    noted = store.read(folder, SNAPSHOT).decode() if store.exists(folder, SNAPSHOT) else ""
    parent, _, current = folder.rpartition("/")
    fenced = [f"{parent}/{name}" for name in store.list(parent) if name < current]
    return fenced + [
        f"{folder}/{name}"
        for name in state.checkpoints[: -(keep if state.state == "finished" else max(keep, 2))]
        if state.state == "finished" or f'"{name}"' not in noted
    ]


def _has_whole_result(store: Store, run: str) -> bool:
    """Tells whether a run has a result of all the steps that its config wants."""
    try:
        steps = result_steps(store, run)
    except StoreError:  # `flowkd models verify` says what is wrong with it
        return True
    return steps is not None and steps >= _wanted_steps(store, run)


def run_config(store: Store, run: str) -> dict[str, Any] | None:
    """Returns the config that a run was begun with; None where it is not there or damaged."""
    path = ("runs", run, "config.yaml")
    try:
        values = yaml.safe_load(read_sealed_text(store, *path)) if store.exists(*path) else None
    except StoreError:  # `run_state` says it
        return None
    return values if isinstance(values, dict) else None


def _wanted_steps(store: Store, run: str) -> int:
    """Returns how many steps a run is to have; 0 where that is not known, or open."""
    train = (run_config(store, run) or {}).get("train")
    steps = train.get("steps") if isinstance(train, dict) and not train.get("plateau") else None
    return steps if isinstance(steps, int) else 0
