"""Asking a cluster that can grow for the nodes that jobs wait for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from cluster.queue.config import QueueConfig
from cluster.queue.spec import Resources


class Growing(Protocol):
    """A cluster that may add nodes."""

    def ask_for(self, bundles: list[dict[str, float]]) -> None:
        """Asks for nodes on which all of these fit; replaces what was asked for before."""


class Growth:
    """Asks for what runs and for the job that is next in line, so that it can start.

    Ray's autoscaler sees what tasks and actors wait for. A job waits in the queue instead, of which
    Ray knows nothing.

    Args:
        cluster: Whose nodes come and go.
        config: Of the queue; without nodes that may come, nothing is asked.
    """

    def __init__(self, cluster: Growing, config: QueueConfig) -> None:
        self._cluster = cluster
        self._grows = bool(config.may_come)
        self._asked: list[dict[str, float]] | None = None

    def ask(self, active: Iterable[Resources], next_one: Resources | None) -> None:
        """Asks, if it is not what was asked last.

        Args:
            active: What runs, which must not lose its nodes.
            next_one: What the first job takes that waits for room; None if none does.
        """
        if not self._grows:
            return
        wanted = [*active, *([next_one] if next_one else [])]
        bundles = [each.of_each() for each in wanted for _ in range(each.workers)]
        bundles = [bundle for bundle in bundles if bundle]
        if bundles != self._asked:
            self._cluster.ask_for(bundles)
            self._asked = bundles
