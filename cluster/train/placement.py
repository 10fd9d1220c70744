"""The resources that a run's workers ask of the cluster, and the error when they get none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.train import ControllerError
from ray.train.v2._internal.execution.callback import ControllerCallback

from flowkd.errors import FlowkdError
from flowkd.training.config import ScalingConfig

START_TIMEOUT = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
# Names of the errors that end Ray Train's controller when workers cannot be started for long.
WITHOUT_RESOURCES = (
    "InsufficientResourcesError",
    "WorkerGroupStartupTimeoutError",
    "InsufficientClusterResourcesError",
)


class InsufficientResourcesError(FlowkdError):
    """A training for whose workers the cluster does not have the resources."""


class ResourceTimeout(ControllerCallback):
    """Ends an elastic run that has waited too long for the resources of min_workers workers.

    Ray Train counts attempts to start workers that failed. Without the resources of min_workers it
    attempts nothing, and would wait for ever.

    Args:
        waits: Number of further attempts of Ray Train that it waits as long as.
    """

    def __init__(self, waits: int) -> None:
        self._seconds = (waits + 1) * float(os.environ.get(START_TIMEOUT, "60"))
        self._since = 0.0

    def after_controller_start(self, train_run_context: Any) -> None:
        """Starts the clock, in the controller's process."""
        self._since = time.monotonic()

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Called at each turn of Ray Train's loop; in one that does nothing, the state stays."""
        if current_state is not previous_state:
            self._since = time.monotonic()
            return
        if time.monotonic() - self._since > self._seconds:
            raise InsufficientResourcesError("the cluster had no resources for scaling.min_workers")
        time.sleep(0.1)  # Ray's loop does not


def resources_per_worker(scaling: ScalingConfig) -> dict[str, float]:
    """Returns the resources of each worker, by Ray's names."""
    return {"CPU": scaling.cpus, **({"GPU": 1} if scaling.gpu else {})}


@contextmanager
def explained_errors(run: str, scaling: ScalingConfig) -> Iterator[None]:
    """Turns an error of Ray Train's controller into one that tells a user what to do.

    Raises:
        InsufficientResourcesError: The cluster does not have the resources.
        FlowkdError: Anything else that the controller could not do, as reaching the store.
    """
    try:
        yield
    except ControllerError as error:
        reason = error.controller_failure
        if type(reason).__name__ not in WITHOUT_RESOURCES:
            raise FlowkdError(
                f"run {run!r}: Ray Train could not go on: {_first_line(reason)}; the same command "
                f"goes on from the last checkpoint"
            ) from error
        raise InsufficientResourcesError(
            f"run {run!r}: the cluster has no resources for its workers: asked for "
            f"{_asked(scaling)}; the cluster's nodes have {_nodes()}, of which "
            f"{_listed(ray.available_resources())} free: lower scaling.workers or scaling.cpus, "
            f"set scaling.min_workers, or add nodes; the same command goes on from where it was"
        ) from error


def _asked(scaling: ScalingConfig) -> str:
    least = f"at least {scaling.least} of " if scaling.least < scaling.workers else ""
    return f"{least}{scaling.workers} times {_listed(resources_per_worker(scaling))}"


def _nodes() -> str:
    return "; ".join(_listed(node["Resources"]) for node in ray.nodes() if node["Alive"]) or "none"


def _listed(amounts: dict[str, float]) -> str:
    return (
        ", ".join(f"{amounts.get(name, 0):g} {name}" for name in ("CPU", "GPU") if name in amounts)
        or "0 CPU"
    )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
