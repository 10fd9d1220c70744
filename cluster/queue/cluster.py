"""The interface of the dispatcher to a cluster: attempts, their status, nodes and resources."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from cluster.queue.free import FreeResources
from cluster.queue.job import Job
from flowkd.errors import FlowkdError

AttemptStatus = Literal["unknown", "alive", "exited", "unreachable"]
"""What the cluster knows of an attempt.

`unknown`: it was never submitted, or is forgotten; `alive`: it waits for a process or has one;
`exited`: its process was seen to end; `unreachable`: it was given up, and its process may live.
"""


class ClusterError(FlowkdError):
    """A call that the cluster did not answer, or refused; the next one may succeed."""


class Cluster(Protocol):
    """A cluster that runs attempts; each method raises ClusterError when it cannot be asked."""

    def submit(self, job: str, attempt: int, kind: str) -> None:
        """Submits an attempt at a job of a kind, unless it was submitted before."""

    def status(self, job: str, attempt: int) -> AttemptStatus:
        """Returns what is known of an attempt."""

    def stop(self, job: str, attempt: int) -> None:
        """Stops an attempt that is alive."""

    def nodes(self) -> list[dict[str, float]]:
        """Returns the resources of each node, by Ray's names."""

    def available(self) -> FreeResources:
        """Returns the resources of each node that nobody uses, as far as is known yet.

        All resources of each node are named, and what it has in all.
        """

    def request_resources(self, bundles: list[dict[str, float]]) -> None:
        """Asks for nodes on which all of these fit; replaces the last request."""

    def end_orphans(self) -> None:
        """Ends what attempts that are over have left on the cluster outside of their processes."""


@contextmanager
def reported(about: str, job: Job | None = None) -> Iterator[None]:
    """Prints that the cluster could not be asked, and notes it of the job; the next tick asks."""
    trouble = ""
    try:
        yield
    except ClusterError as error:
        trouble = f"{error}; trying again"
        print(f"dispatcher: {about}: {trouble}", flush=True)
    if job is not None:
        job.trouble = trouble
