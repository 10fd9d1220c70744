"""A run of an MLflow server: figures by step, parameters, tags."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from flowkd.tracking.config import TrackingConfig

# A server that is away is told at once: who asks tries again later.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
STEP = "flowkd.step"  # the tag that says up to which step figures were sent
BATCH, PARAMETERS, LETTERS = 1000, 100, 500  # the most that MLflow takes at once, and in a value


class MlflowRun:
    """One run of an MLflow server.

    Args:
        config: Names the server and the experiment.
        name: What the run is called there.
        tags: What it is, where a new one is made.
        known: Id of a run that goes on; None to make one.

    Attributes:
        id: By which the server knows it.
        step: Up to which figures were sent.
        has_parameters: Whether parameters were sent.

    Raises:
        ModuleNotFoundError: The package is not there.
        Exception: Whatever the package raises where the server does not answer.
    """

    def __init__(
        self, config: TrackingConfig, name: str, tags: Mapping[str, str], known: str | None = None
    ) -> None:
        for key, value in SETTINGS.items():
            os.environ.setdefault(key, value)
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=config.mlflow)
        if known is None:
            experiment = self._experiment(config.experiment)
            self.id: str = self._client.create_run(
                experiment, run_name=name, tags=dict(tags)
            ).info.run_id
            self.step, self.has_parameters = 0, False
        else:
            self.id = known
            found = self._client.get_run(known).data
            self.step, self.has_parameters = int(found.tags.get(STEP, 0)), bool(found.params)
            self._client.update_run(known, status="RUNNING")

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException:  # another has made it meanwhile, or it cannot be
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def log_parameters(self, values: Mapping[str, Any]) -> None:
        """Sends nested parameters, named by their paths."""
        from mlflow.entities import Param

        found = [Param(key, str(value)[:LETTERS]) for key, value in _paths(values)]
        for start in range(0, len(found), PARAMETERS):
            self._client.log_batch(self.id, params=found[start : start + PARAMETERS])

    def log_records(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Sends the figures of records with their steps, but for those that were sent before."""
        from mlflow.entities import Metric, RunTag

        batch: list[Metric] = []
        step = self.step
        for record in records:
            if record["step"] <= step:
                continue
            clock = int(1000 * record.get("time", time.time()))
            figures = [Metric(key, value, clock, record["step"]) for key, value in numbers(record)]
            if len(batch) + len(figures) > BATCH:
                self._send(batch, RunTag(STEP, str(step)))
                batch = []
            batch += figures
            step = record["step"]
        if batch:
            self._send(batch, RunTag(STEP, str(step)))

    def _send(self, batch: list[Any], tag: Any) -> None:
        self._client.log_batch(self.id, metrics=batch, tags=[tag])
        self.step = int(tag.value)

    def log_figures(self, figures: Mapping[str, float]) -> None:
        """Sends figures that have no step."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(
            self.id, metrics=[Metric(key, value, now, 0) for key, value in figures.items()]
        )

    def tag(self, **tags: str) -> None:
        """Sets tags `flowkd.NAME`."""
        for name, value in tags.items():
            self._client.set_tag(self.id, f"flowkd.{name}", value)

    def end(self, status: str) -> None:
        """Says how it ended: FINISHED, FAILED or KILLED."""
        self._client.set_terminated(self.id, status)


def numbers(record: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Returns the finite numbers of a record but for its step and time, by their names."""
    return [
        (name, float(value))
        for name, value in record.items()
        if name not in ("step", "time") and type(value) in (int, float) and math.isfinite(value)
    ]


def _paths(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in values.items():
        path = f"{before}{key}"
        if isinstance(value, Mapping) and value:
            yield from _paths(value, f"{path}.")
        else:
            yield path, value


def explain(error: Exception, config: TrackingConfig) -> str:
    """Returns in a line why nothing is sent, and what becomes of it."""
    if isinstance(error, ModuleNotFoundError):
        return f"tracking.mlflow: needs {error.name}: pip install 'flowkd[mlflow]'"
    reason = " ".join(str(error).split())[:200]
    return (
        f"MLflow at {config.mlflow} takes nothing now: {reason}; the store has all of it, which is "
        f"sent should the server answer before the end"
    )
