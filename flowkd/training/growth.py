"""A finished run whose `train.steps` grow: it goes on from its end, under its own name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from flowkd.distillation.schedules import LossWeights, Scheduled
from flowkd.errors import ConfigError
from flowkd.registry.artifact_manifest import read_metrics
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import current_checkpoints

if TYPE_CHECKING:
    from flowkd.training.config import TrainingConfig


def result_steps(store: Store, run: str) -> int | None:
    """Returns how many steps a run's result has; None where there is none.

    Raises:
        StoreError: What is there cannot be read.
    """
    folder = f"runs/{run}/result"
    if not store.exists(folder, "manifest.json"):
        return None
    steps = read_metrics(store, folder).get("steps")
    return steps if isinstance(steps, int) else 0


def is_finished(store: Store, config: TrainingConfig) -> bool:
    """Tells whether a run has a result of all the steps that it is to have."""
    steps = result_steps(store, config.name)
    return steps is not None and steps >= config.train.least_steps


def with_steps(known: TrainingConfig, steps: int) -> TrainingConfig:
    """Returns a config with another number of steps."""
    return known.model_copy(update={"train": known.train.model_copy(update={"steps": steps})})


def check_growth(known: TrainingConfig, steps: int, store: Store) -> None:
    """Raises ConfigError unless a run of a known config can go on to so many steps.

    Args:
        known: As the run was begun.
        steps: How many it is to have now.
        store: Where it is.
    """
    name, before = known.name, known.train.steps
    if steps == before:
        return
    if known.train.plateau is not None:
        raise ConfigError(
            f"run {name!r}: train.steps: it ends by itself, after {before} steps at most; got "
            f"{steps}: choose another name"
        )
    if steps < before:
        raise ConfigError(
            f"run {name!r}: train.steps: expected at least the {before} that it was begun with; "
            f"got {steps}: choose another name"
        )
    if not is_finished(store, known):
        raise ConfigError(
            f"run {name!r}: train.steps: it is not finished with its {before} steps, and can grow "
            f"to {steps} once it is: let it end first"
        )
    if not current_checkpoints(store, name):
        raise ConfigError(
            f"run {name!r}: train.steps: it keeps no checkpoint of its end, from which it could go "
            f"on to {steps} steps: choose another name"
        )
    learners = unfinished_learners(store, name)
    if learners:
        raise ConfigError(
            f"run {name!r}: train.steps: {', '.join(learners)} learns from its result as it is "
            f"now: let that end first, or choose another name"
        )


def growth_note(config: TrainingConfig, store: Store) -> str | None:
    """Returns in words how a finished run will go on; None where none does.

    Args:
        config: Of the run, with the steps that it is to have.
        store: Where it is.
    """
    steps = result_steps(store, config.name)
    if steps is None or steps >= config.train.least_steps:
        return None
    goes_on = f"run {config.name!r} goes on from step {steps:,} to {config.train.steps:,}"
    scheduled = _scheduled(config)
    if not scheduled:
        return f"{goes_on}: its result will be that of so many steps from the beginning"
    return (
        f"{goes_on}, from here on by the schedule of {config.train.steps:,} steps "
        f"({', '.join(scheduled)}): its result will not be that of so many steps from the beginning"
    )


def unfinished_learners(store: Store, run: str) -> list[str]:
    """Returns the names of the runs, not finished, that have pinned the result of a run."""
    return [
        name
        for name in store.list("runs")
        if name != run and f"runs/{run}" in _pinned(store, name) and not _has_result(store, name)
    ]


def _scheduled(config: TrainingConfig) -> list[str]:
    """Returns the keys of what depends on the number of steps."""
    found = (
        [] if config.train.schedule == "constant" else [f"train.schedule: {config.train.schedule}"]
    )
    if config.distillation is not None:
        weights = config.distillation.weights
        found += [
            f"objective.weights.{name}"
            for name in LossWeights.model_fields
            if isinstance(getattr(weights, name), Scheduled)
        ]
    return found


def _pinned(store: Store, run: str) -> set[str]:
    """Returns the references of the flows that a run learns or begins from."""
    path = ("runs", run, "resolved.yaml")
    values: Any = yaml.safe_load(store.read(*path)) if store.exists(*path) else None
    if not isinstance(values, dict):
        return set()
    flows = (values.get(key) for key in ("teacher", "source"))
    return {
        str(flow["reference"]) for flow in flows if isinstance(flow, dict) and "reference" in flow
    }


def _has_result(store: Store, run: str) -> bool:
    return store.exists("runs", run, "result", "manifest.json")
