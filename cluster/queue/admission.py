"""Which of the waiting jobs may start now: a pure function of what is there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from cluster.queue.spec import Resources
from flowkd.config import Config

EPSILON = 1e-6  # Ray counts resources in steps of 1e-4


class QueueLimits(Config):
    """What the queue allows, in all and to each owner; None for no limit.

    Attributes:
        running: Jobs that run at once.
        running_per_owner: Of one owner.
        queued: Jobs that wait; more are refused when they are submitted.
    """

    running: int | None = Field(None, ge=1)
    running_per_owner: int | None = Field(None, ge=1)
    queued: int | None = Field(10_000, ge=1)


@dataclass(frozen=True)
class Waiting:
    """A job that could start.

    Attributes:
        job: Its id.
        owner: Who submitted it.
        priority: Higher goes first.
        order: Of arrival.
        resources: What it takes.
    """

    job: str
    owner: str
    priority: int
    order: int
    resources: Resources


@dataclass
class Room:
    """What nodes have left, by Ray's names of resources."""

    nodes: list[dict[str, float]] = field(default_factory=list)

    def take(self, resources: Resources) -> bool:
        """Takes what a job needs, each process on one node; False, and nothing, if it can't."""
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
    rooms: Sequence[Room],
    limits: QueueLimits,
) -> list[Waiting]:
    """Returns the jobs to start, in this order.

    Strictly in line: a job that does not fit holds back those behind it that want any of the
    resources that it wants, so that a large job is not starved by small ones. Nobody is held back
    by one whose owner has as many as allowed, or that these nodes could not hold if they were
    empty.

    Args:
        waiting: Jobs that could start now.
        running: How many jobs of each owner run.
        nodes: What each node has in all.
        rooms: What is left of them, in several estimates: a job must fit by all of them. What is
            admitted is taken from each.
        limits: Of the queue.
    """
    counts = Counter(running)
    admitted: list[Waiting] = []
    blocked: set[str] = set()
    for job in in_line(waiting):
        if limits.running is not None and counts.total() >= limits.running:
            break
        if limits.running_per_owner is not None and counts[job.owner] >= limits.running_per_owner:
            continue
        wanted = job.resources.of_each().keys()
        if blocked & wanted:
            blocked |= wanted  # in line, it comes before all that follow
            continue
        if not _take_from_all(rooms, job.resources):
            if fits_ever(job.resources, nodes):
                blocked |= wanted
            continue
        counts[job.owner] += 1
        admitted.append(job)
    return admitted


def _take_from_all(rooms: Sequence[Room], resources: Resources) -> bool:
    before = [room.nodes for room in rooms]
    if all(room.take(resources) for room in rooms):
        return True
    for room, nodes in zip(rooms, before, strict=True):
        room.nodes = nodes
    return False


def fits_ever(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> bool:
    """Tells whether a job would fit if nothing else ran on these nodes."""
    return Room([dict(node) for node in nodes]).take(resources)
