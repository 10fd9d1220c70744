"""The outcomes of a study's runs: how each ended, as the store tells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowkd.config import parse_config
from flowkd.errors import ConfigError
from flowkd.registry.artifacts import load_artifact
from flowkd.store.sealed import read_sealed, write_sealed
from flowkd.store.store import Store
from flowkd.training.config import MAY_CHANGE, TrainingConfig
from jobs.studies.plan import PlannedRun


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        created: When its result was written, ISO 8601; empty if it failed.
        validation: Best bits per dimension on the validation rows; infinite if it failed.
        cpu_seconds: CPU seconds of its training.
        failed: Why it failed, or None.
    """

    created: str = ""
    validation: float = math.inf
    cpu_seconds: float = 0.0
    failed: str | None = None


Outcomes = Mapping[str, RunOutcome]


def find_outcome(store: Store, run: PlannedRun, outcomes: Outcomes) -> RunOutcome | None:
    """Returns how a planned run ended, or None if it has not.

    Args:
        store: Holds the runs.
        run: The run as it is planned now.
        outcomes: Outcomes by name, those of the runs that it needs among them.

    Raises:
        ConfigError: Its name is taken by a run of another config, or by one that was made from a
            teacher which has been trained anew since.
    """
    name = run.config.name
    broken = [need for need in run.needs if outcomes[need].failed]
    if broken:
        return RunOutcome(failed=f"it needs {broken[0]}, which failed")
    if store.exists("runs", name, "result", "manifest.json"):
        artifact = load_artifact(store, f"runs/{name}")
        _check_equal(store, run.config, artifact.config.training)
        created = artifact.manifest.created
        newer = [need for need in run.needs if outcomes[need].created > created]
        if newer:
            raise ConfigError(
                f"run {name!r} in {store.uri} is older than {newer[0]}, which it was made from: "
                f"remove runs/{name}, or call with --replace"
            )
        metrics = artifact.metrics
        seconds = metrics.get("cpu_seconds", metrics.get("seconds", math.nan))
        return RunOutcome(created, metrics["validation_bits_per_dim"], seconds)
    if store.exists("runs", name, "failure.json"):
        failure = read_sealed(store, "runs", name, "failure.json")
        if _difference(run.config, failure["config"]) is None:
            return RunOutcome(failed=failure["reason"])
    return None


def record_failure(store: Store, config: TrainingConfig, reason: str) -> None:
    """Writes why a run failed, so that it is not tried again with the same config."""
    failure = {"reason": reason, "config": config.model_dump(mode="json")}
    write_sealed(store, failure, "runs", config.name, "failure.json")


def _check_equal(store: Store, config: TrainingConfig, known: dict[str, Any]) -> None:
    difference = _difference(config, known)
    if difference:
        raise ConfigError(
            f"run {config.name!r} exists in {store.uri} with another config: {difference}; remove "
            f"runs/{config.name}, call with --replace, or rename the study"
        )


def _difference(config: TrainingConfig, known: dict[str, Any]) -> str | None:
    """Returns the first field in which a stored config is another, or None."""
    name = f"runs/{config.name}"
    try:
        before = parse_config(TrainingConfig, known, source=name)
    except ConfigError as error:
        return str(error)
    was, now = (
        _flat(run.model_dump(mode="json", exclude={*MAY_CHANGE})) for run in (before, config)
    )
    for key in was | now:
        if was.get(key) != now.get(key):
            return f"{key} was {was.get(key)!r}, now {now.get(key)!r}"
    return None


def _flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{path}{key}.")
        else:
            flat[f"{path}{key}"] = value
    return flat
