"""Admission: which of the waiting jobs start now, a pure function of jobs, nodes and limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from cluster.queue.spec import Resources
from flowkd.config import Config

EPSILON = 1e-6  # Ray counts resources in steps of 1e-4


class QueueLimits(Config):
    """How many jobs a queue takes and runs; None for any number.

    Attributes:
        max_running: Jobs that run at once; default None.
        max_running_per_owner: Jobs of one owner that run at once; default None.
        max_queued: Jobs that wait; more are refused when they are submitted; default 10,000.
    """

    max_running: int | None = Field(None, ge=1)
    max_running_per_owner: int | None = Field(None, ge=1)
    max_queued: int | None = Field(10_000, ge=1)


@dataclass(frozen=True)
class Waiting:
    """A waiting job, as admission sees it.

    Attributes:
        job: Id of the job.
        owner: Who submitted it.
        priority: Jobs of a higher one start first.
        order: Place in the order of arrival, from 1.
        resources: What its processes take.
    """

    job: str
    owner: str
    priority: int
    order: int
    resources: Resources


@dataclass
class FreeResources:
    """Free resources of nodes.

    Attributes:
        nodes: What is free on each node, by Ray's names; default no nodes.
    """

    nodes: list[dict[str, float]] = field(default_factory=list)

    def take(self, resources: Resources) -> bool:
        """Takes what a job needs, each process on one node; False, and nothing, if it does not fit.

        >>> free = FreeResources([{"CPU": 4.0}])
        >>> free.take(Resources(cpus=3)), free.take(Resources(cpus=3)), free.nodes
        (True, False, [{'CPU': 1.0}])
        """
        left = [dict(node) for node in self.nodes]
        wanted = resources.of_each()
        for _ in range(resources.workers):
            for node in left:
                if all(node.get(name, 0) + EPSILON >= amount for name, amount in wanted.items()):
                    for name, amount in wanted.items():
                        node[name] -= amount
                    break
            else:
                return False
        self.nodes = left
        return True


def in_line(waiting: Iterable[Waiting]) -> list[Waiting]:
    """Returns the waiting jobs, the next one first: by priority, then as they came."""
    return sorted(waiting, key=lambda job: (-job.priority, job.order, job.job))


def admit(
    waiting: Iterable[Waiting],
    running: Mapping[str, int],
    nodes: Sequence[Mapping[str, float]],
    estimates: Sequence[FreeResources],
    limits: QueueLimits,
) -> list[Waiting]:
    """Returns the jobs to start, in this order.

    Strictly in line: a job that does not fit holds back those behind it that want any of the
    resources that it wants, so that a large job is not starved by small ones. Nobody is held back
    by one whose owner has as many as allowed, or that these nodes could not hold if they were
    empty.

    Args:
        waiting: Jobs that could start now.
        running: Number of jobs that run, by owner.
        nodes: Resources of each node in all, by Ray's names.
        estimates: Free resources of the nodes, in several estimates: a job must fit by all of them.
            What is admitted is taken from each.
        limits: How many jobs the queue runs.
    """
    counts, per_owner = Counter(running), limits.max_running_per_owner
    admitted: list[Waiting] = []
    blocked: set[str] = set()
    for job in in_line(waiting):
        if limits.max_running is not None and counts.total() >= limits.max_running:
            break
        if per_owner is not None and counts[job.owner] >= per_owner:
            continue
        wanted = job.resources.of_each().keys()
        if blocked & wanted:
            blocked |= wanted  # in line, it comes before all that follow
            continue
        if not _take_from_all(estimates, job.resources):
            if fits_ever(job.resources, nodes):
                blocked |= wanted
            continue
        counts[job.owner] += 1
        admitted.append(job)
    return admitted


def _take_from_all(estimates: Sequence[FreeResources], resources: Resources) -> bool:
    before = [free.nodes for free in estimates]
    if all(free.take(resources) for free in estimates):
        return True
    for free, nodes in zip(estimates, before, strict=True):
        free.nodes = nodes
    return False


def fits_ever(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Tells whether a job would fit if nothing else ran on these nodes."""
    return FreeResources([dict(node) for node in nodes]).take(resources)
