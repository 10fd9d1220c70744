"""The cluster of the queue on Ray: attempts as Ray Jobs, nodes, free resources, the autoscaler."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.autoscaler.sdk import request_resources
from ray.dashboard.modules.job.sdk import JobSubmissionClient
from ray.job_submission import JobStatus

from cluster.orphans import end_orphans
from cluster.queue.cluster import AttemptStatus, ClusterError
from cluster.queue.config import QueueConfig
from cluster.queue.free import FreeResources
from flowkd.store.store import Store

# What nodes always have, and no job asks for.
INTERNAL = ("node:", "memory", "object_store_memory", "accelerator_type:")

STORE = "flowkd_store"  # key of a Ray job's metadata

# What Ray and its job server raise when they cannot be asked; RuntimeError is also an answer.
FAILURES = (RuntimeError, OSError, ray.exceptions.RayError)


@contextmanager
def _asking(what: str) -> Iterator[None]:
    try:
        yield
    except FAILURES as error:
        raise ClusterError(f"Ray could not {what}: {type(error).__name__}: {error}") from error


class RayJobs:
    """A `Cluster` of Ray, the one that this process is connected to.

    Args:
        address: URL of the job server.
        store: Where the queue's records are.
        config: Says how long attempts may be silent, and have to stop.
    """

    def __init__(self, address: str, store: Store, config: QueueConfig) -> None:
        self._client = JobSubmissionClient(address)
        self._store = store
        self._config = config

    def submit(self, job: str, attempt: int, kind: str) -> None:
        """Submits an attempt as a Ray job; its submission id makes sure that it is one job."""
        if self.status(job, attempt) != "unknown":
            return
        if self._config.no_command(kind):
            raise ClusterError(str(self._config.no_command(kind)))
        with _asking(f"start attempt {attempt}"):
            self._submit(job, attempt, kind)

    def _submit(self, job: str, attempt: int, kind: str) -> None:
        wait = math.ceil(self._config.grace_period) + 5
        try:
            self._client.submit_job(
                entrypoint=entrypoint(job, attempt, kind, self._store.uri, self._config),
                submission_id=submission_id(job, attempt),
                metadata={"flowkd_job": job, STORE: self._store.uri},
                runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(wait)}},
            )
        except RuntimeError:  # somebody else has submitted it between the two calls
            if self.status(job, attempt) == "unknown":
                raise

    def status(self, job: str, attempt: int) -> AttemptStatus:
        """Returns what Ray knows of an attempt."""
        with _asking(f"tell of attempt {attempt}"):
            return self._status(job, attempt)

    def _status(self, job: str, attempt: int) -> AttemptStatus:
        try:
            info = self._client.get_job_info(submission_id(job, attempt))
        except RuntimeError as error:
            if "404" in str(error) or "does not exist" in str(error):
                return "unknown"
            raise
        if (info.metadata or {}).get(STORE) != self._store.uri:
            return "exited"  # the name is taken by another store's job: the next number may be free
        if info.status in (JobStatus.PENDING, JobStatus.RUNNING):
            return "alive"
        # Ray calls a job stopped once it has made sure that its processes are gone.
        seen = info.driver_exit_code is not None or info.status == JobStatus.STOPPED
        return "exited" if seen else "unreachable"

    def stop(self, job: str, attempt: int) -> None:
        """Asks Ray to stop an attempt, if it is alive."""
        if self.status(job, attempt) == "alive":
            with _asking(f"stop attempt {attempt}"):
                self._client.stop_job(submission_id(job, attempt))

    def nodes(self) -> list[dict[str, float]]:
        """Returns the resources of each node, by Ray's names."""
        with _asking("tell its nodes"):
            return [_offered(node["Resources"]) for node in ray.nodes() if node["Alive"]]

    def available(self) -> FreeResources:
        """Returns the resources of each node that nobody uses, as far as Ray knows yet."""
        with _asking("tell what is left"):
            found = ray._private.state.available_resources_per_node()
            nodes = [node for node in ray.nodes() if node["Alive"]]
        totals = [_offered(node["Resources"]) for node in nodes]
        left = [
            {name: found.get(node["NodeID"], {}).get(name, 0.0) for name in total}
            for node, total in zip(nodes, totals, strict=True)
        ]
        return FreeResources(left, totals)

    def request_resources(self, bundles: list[dict[str, float]]) -> None:
        """Asks the autoscaler for nodes on which all of these fit, until it is asked otherwise."""
        with _asking("ask for nodes"):
            request_resources(bundles=bundles)

    def end_orphans(self) -> None:
        """Ends the actors of trainings whose driver is gone, whichever node it was on."""
        with _asking("end what attempts left"):
            for actor in end_orphans():
                print(f"dispatcher: ended a {actor} whose driver is gone", flush=True)


def entrypoint(job: str, attempt: int, kind: str, uri: str, config: QueueConfig) -> str:
    """Returns the line by which Ray's shell runs an attempt: each word is one, whatever is in it.

    Args:
        job: Id of the job.
        attempt: Number of the attempt.
        kind: Kind of the job, one of `config.commands`.
        uri: URI of the store.
        config: Names the program; the job's records never do.
    """
    words = [sys.executable, "-m", "cluster.queue.runner", "--store", uri]
    words += ["--heartbeat-timeout", f"{config.heartbeat_timeout:g}"]
    words += ["--grace-period", f"{config.grace_period:g}"]
    return f"exec {shlex.join([*words, job, str(attempt), '--', *config.commands[kind]])}"


def submission_id(job: str, attempt: int) -> str:
    """Returns the submission id of an attempt's Ray job."""
    return f"{job}-a{attempt}"


def _offered(resources: dict[str, float]) -> dict[str, float]:
    return {name: amount for name, amount in resources.items() if not name.startswith(INTERNAL)}
