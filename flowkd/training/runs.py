"""The runs of a store: how far each came, and how to remove the checkpoints that may go."""

from __future__ import annotations

from typing import Literal

import yaml

from flowkd.config import Config
from flowkd.errors import StoreError
from flowkd.store.store import Store
from flowkd.training.growth import result_steps
from flowkd.training.metrics_log import read_log
from flowkd.training.outcome import BITS, judged_of
from flowkd.training.resolve import REMOVING

RunStatus = Literal["finished", "failed", "removing", "unfinished"]


class RunState(Config):
    """How far a training run came.

    Attributes:
        run: Name of the run.
        state: `finished`: its result is there; `failed`: for good; `removing`: it is removed in
            part; `unfinished`: none of these.
        step: Last step in its metrics.
        validation_bits_per_dim: Lowest value so far; None before the first.
        best_step: Steps before that validation, whose weights are kept; None before the first.
        warning: What the last validation has to warn of; None for nothing.
        checkpoints: Names of the checkpoints that are kept, oldest first.
    """

    run: str
    state: RunStatus
    step: int
    validation_bits_per_dim: float | None
    best_step: int | None
    warning: str | None
    checkpoints: tuple[str, ...]


def run_states(store: Store) -> list[RunState]:
    """Returns all runs, by name."""
    return [run_state(store, run) for run in store.list("runs")]


def run_state(store: Store, run: str) -> RunState:
    """Returns how far a run came.

    Raises:
        StoreError: No run of this name.
    """
    known = store.list("runs")
    if run not in known:
        raise StoreError(f"no run {run!r} in {store.uri}; there are {', '.join(known) or 'none'}")
    log = read_log(store, run)
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
        step=log[-1]["step"] if log else 0,
        validation_bits_per_dim=best.get(BITS),
        best_step=best.get("step"),
        warning=judged[-1].get("warning") if judged else None,
        checkpoints=tuple(_checkpoints(store, run)),
    )


def prune_checkpoints(
    store: Store, keep: int, run: str | None = None, *, dry_run: bool = False
) -> list[str]:
    """Removes all but the last checkpoints of a run, or of all; results and metrics stay.

    A run that is not finished also keeps those that Ray Train's snapshot names: it could not go
    on without them. No lineage names a checkpoint.

    Args:
        store: Where the runs lie.
        keep: How many checkpoints of a run stay, at least 1, so that an unfinished run can go on.
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
    removed = [
        ("runs", each.run, "checkpoints", name)
        for each in runs
        for name in each.checkpoints[:-keep]
        if each.state == "finished" or f'"{name}"' not in _snapshot(store, each.run)
    ]
    if not dry_run:
        for folder in removed:
            store.remove(*folder)
    return ["/".join(folder) for folder in removed]


def _has_whole_result(store: Store, run: str) -> bool:
    """Tells whether a run has a result of all the steps that its config wants."""
    try:
        steps = result_steps(store, run)
    except StoreError:  # `flowkd models verify` says what is wrong with it
        return True
    return steps is not None and steps >= _wanted_steps(store, run)


def _wanted_steps(store: Store, run: str) -> int:
    """Returns how many steps a run is to have; 0 where that is not known."""
    path = ("runs", run, "config.yaml")
    values = yaml.safe_load(store.read(*path)) if store.exists(*path) else None
    train = values.get("train") if isinstance(values, dict) else None
    steps = train.get("steps") if isinstance(train, dict) else None
    return steps if isinstance(steps, int) else 0


def _checkpoints(store: Store, run: str) -> list[str]:
    # Ray Train's checkpoint_manager_snapshot.json lies beside them.
    names = store.list("runs", run, "checkpoints")
    return [n for n in names if n.startswith("checkpoint_") and not n.endswith(".json")]


def _snapshot(store: Store, run: str) -> str:
    """Returns the text of Ray Train's list of a run's checkpoints; empty if there is none."""
    path = ("runs", run, "checkpoints", "checkpoint_manager_snapshot.json")
    return store.read(*path).decode() if store.exists(*path) else ""
