"""Requests to the cluster's autoscaler for the nodes that jobs run on and wait for."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.queue.cluster import Cluster
from cluster.queue.spec import Resources


class NodeRequests:
    """Requests the resources of the jobs that run and of the next one in line.

    Ray's autoscaler sees what tasks and actors wait for. A job waits in the queue instead, of which
    Ray knows nothing.

    Args:
        cluster: Whose nodes come and go.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._requested: list[dict[str, float]] | None = None

    def update(self, running: Iterable[Resources], next_one: Resources | None) -> None:
        """Sends a request, if it is not the last one.

        Args:
            running: The resources of each job that runs, which must not lose its nodes.
            next_one: Those of the first job that waits for room; None if none does.
        """
        bundles = bundles_of([*running, *([next_one] if next_one else [])])
        if bundles != self._requested:
            self._cluster.request_resources(bundles)
            self._requested = bundles


def bundles_of(wanted: Iterable[Resources]) -> list[dict[str, float]]:
    """Returns what each process takes that takes anything, by Ray's names.

    >>> bundles_of([Resources(workers=2, cpus=1), Resources(cpus=0)])
    [{'CPU': 1.0}, {'CPU': 1.0}]
    """
    bundles = [each.of_each() for each in wanted for _ in range(each.workers)]
    return [bundle for bundle in bundles if bundle]
