"""Admission: which of the jobs in line start now, and which make room, as pure functions."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from cluster.queue.free import EPSILON, FreeResources, Kinds, fits_beside, fits_ever
from cluster.queue.line import LinePolicy, Waiting
from cluster.queue.spec import Resources
from flowkd.config import Config


class QueueLimits(Config):
    """How many jobs a queue takes and runs, and in which order; None for any number.

    Attributes:
        max_running: Jobs that run at once; default None.
        max_running_per_owner: Jobs of one owner that run at once; default None.
        max_queued: Jobs that wait; more are refused when they are submitted; default 10,000.
        quotas: What the jobs of an owner hold at once at most, `{ann: {GPU: 4}}` for one; `*` for
            all who are not named; default none.
        line: The order in which jobs have their turn.
    """

    max_running: int | None = Field(None, ge=1)
    max_running_per_owner: int | None = Field(None, ge=1)
    max_queued: int | None = Field(10_000, ge=1)
    quotas: dict[str, dict[str, float]] = Field(default_factory=dict)
    line: LinePolicy = LinePolicy()


@dataclass(frozen=True)
class Running:
    """A job that runs.

    Attributes:
        job: Id of the job.
        owner: Who submitted it.
        priority: Its priority.
        resources: What its processes take.
        started: When it started, seconds since 1970.
        limit: Seconds that it may run; None if it may for as long as it needs.
        preemptible: Whether it may be stopped to make room.
        backfill: Whether it started before others that were in line before it.
        leaving: Whether it has been asked to stop.
    """

    job: str
    owner: str
    priority: int
    resources: Resources
    started: float = 0.0
    limit: float | None = None
    preemptible: bool = False
    backfill: bool = False
    leaving: bool = False

    @property
    def ends_by(self) -> float:
        """When it has certainly ended, seconds since 1970; infinite where it has no limit."""
        return math.inf if self.limit is None else self.started + self.limit


@dataclass(frozen=True)
class Admission:
    """What a look at the line leads to.

    Attributes:
        start: The jobs that start, in this order.
        backfill: Ids of those among them that start before others in line.
        preempt: Ids of the jobs that make room.
        blocked: The first job in line that waits for room; None if none does.
    """

    start: list[Waiting]
    backfill: set[str]
    preempt: list[str]
    blocked: Waiting | None


def admit(
    line: Sequence[Waiting],
    running: Sequence[Running],
    nodes: Sequence[Mapping[str, float]],
    estimates: Sequence[FreeResources],
    limits: QueueLimits,
    now: float = 0.0,
) -> Admission:
    """Returns which jobs start now, and which make room.

    The first job that waits for room keeps its place: of what it could use, those behind it take
    only what it does not, or for as long as it has to wait anyway by the limits of those that run,
    or as jobs that make room for it (backfill). Nobody is held back by one whose owner has as much
    as allowed, or that these nodes could not hold if they were empty.

    Args:
        line: Jobs that could start now, the next one first.
        running: Jobs that run.
        nodes: Resources of each node in all, by Ray's names; those that are there come first.
        estimates: Free resources of the nodes, in several estimates: a job must fit by all of them.
            What is admitted is taken from each.
        limits: How many jobs the queue runs.
        now: Seconds since 1970.
    """
    allowed = _Allowance(running, limits)
    start: list[Waiting] = []
    behind: set[str] = set()
    blocked: Waiting | None = None
    wait = 0.0
    for job in line:
        if allowed.nothing_more():
            break
        if not allowed.has_room(job):
            continue
        if blocked is None:
            taken = _take_from_all(estimates, job.resources)
            if not taken:
                if fits_ever(job.resources, nodes):
                    blocked, wait = job, _wait_of(job, start, running, nodes, now)
                continue
        elif not _fits_behind(job, blocked, wait, estimates):
            continue
        else:
            behind.add(job.job)
        allowed.count(job.owner, job.resources)
        start.append(job)
    preempt = [] if blocked is None else _victims(blocked, start, running, nodes)
    return Admission(start, behind, preempt, blocked)


class _Allowance:
    """What the limits still allow, in all and to each owner."""

    def __init__(self, running: Sequence[Running], limits: QueueLimits) -> None:
        self._limits = limits
        self._counts: Counter[str] = Counter()
        self._held: dict[str, Counter[str]] = defaultdict(Counter)
        for job in running:
            self.count(job.owner, job.resources)

    def count(self, owner: str, resources: Resources) -> None:
        self._counts[owner] += 1
        for name, amount in resources.of_each().items():
            self._held[owner][name] += resources.workers * amount  # type: ignore[assignment]

    def nothing_more(self) -> bool:
        most = self._limits.max_running
        return most is not None and self._counts.total() >= most

    def has_room(self, job: Waiting) -> bool:
        most = self._limits.max_running_per_owner
        if most is not None and self._counts[job.owner] >= most:
            return False
        quotas = self._limits.quotas
        quota = quotas.get(job.owner, quotas.get("*", {}))
        wanted = job.resources.of_each()
        return all(
            self._held[job.owner][name] + job.resources.workers * wanted.get(name, 0.0)
            <= most + EPSILON
            for name, most in quota.items()
        )


def _fits_behind(
    job: Waiting,
    blocked: Waiting,
    wait: float,
    estimates: Sequence[FreeResources],
) -> bool:
    """Takes what a job needs that is behind one that waits, if that one loses nothing by it."""
    if job.preemptible or (job.limit is not None and job.limit <= wait):
        return _take_from_all(estimates, job.resources)
    spared = all(free.spares(job.resources, blocked.resources) for free in estimates)
    return spared and _take_from_all(estimates, job.resources)


def _wait_of(
    job: Waiting,
    started: Sequence[Waiting],
    running: Sequence[Running],
    nodes: Sequence[Mapping[str, float]],
    now: float,
) -> float:
    """Returns for how many seconds a job has to wait, if those that run take all their time.

    Infinite time is not known to be waited: 0 then, so that nothing is counted on.
    """
    kinds = Kinds()
    held = [(each.ends_by, kinds.processes(each.resources)) for each in running]
    held += [(now + (each.limit or math.inf), kinds.processes(each.resources)) for each in started]
    ends = sorted({end for end, _ in held if end < math.inf})

    def fits_at(end: float) -> bool:
        later = kinds.counted(processes for until, processes in held if until > end)
        return fits_beside(job.resources, later, nodes)

    if not ends or not fits_at(ends[-1]):
        return 0.0
    # The later, the more is free: the first one is found by halves.
    return max(0.0, ends[bisect_left(ends, True, hi=len(ends) - 1, key=fits_at)] - now)


def _victims(
    blocked: Waiting,
    started: Sequence[Waiting],
    running: Sequence[Running],
    nodes: Sequence[Mapping[str, float]],
) -> list[str]:
    """Returns the fewest jobs that have to make room for one that waits; none if that is no use.

    Those of the lowest priority go first, and of these the last that have started.
    """
    able = [
        job
        for job in running
        if job.preemptible and not job.leaving and (job.priority < blocked.priority or job.backfill)
    ]
    able.sort(key=lambda job: (job.priority, -job.started))
    kinds = Kinds()
    going = {job.job for job in able}
    staying = [
        kinds.processes(job.resources)
        for job in running
        if not job.leaving and job.job not in going
    ]
    staying += [kinds.processes(job.resources) for job in started]
    yielding = [kinds.processes(job.resources) for job in able]

    def fits_without(count: int) -> bool:
        return fits_beside(blocked.resources, kinds.counted([*staying, *yielding[count:]]), nodes)

    if not fits_without(len(able)):
        return []
    # The more go, the more is free: the fewest are found by halves.
    fewest = bisect_left(range(len(able)), True, key=fits_without)
    return [job.job for job in able[:fewest]]


def _take_from_all(estimates: Sequence[FreeResources], resources: Resources) -> bool:
    if not all(free.fits(resources) for free in estimates):
        return False
    for free in estimates:
        free.take(resources)
    return True
