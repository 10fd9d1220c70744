"""The line: in which order jobs have their turn, by priority, fair share and time waited."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import Field

from cluster.queue.free import Kind, fits_ever, kind_of
from cluster.queue.spec import Resources
from flowkd.config import Config

# A job that has its turn counts for those of its owner behind it as if it had run for so long.
TURN_SECONDS = 600.0


class LinePolicy(Config):
    """How the line is ordered.

    Attributes:
        aging: Seconds in the queue after which a job counts as one priority higher, and again after
            as many more, so that none waits for ever; default 21,600; None for never.
        half_life: Seconds after which what an owner has used counts half: of jobs of one priority,
            those of the owner who has used the least come first; default 86,400; None for the
            order of arrival alone.
    """

    aging: float | None = Field(21_600.0, gt=0)
    half_life: float | None = Field(86_400.0, gt=0)


@dataclass(frozen=True)
class Waiting:
    """A waiting job.

    Attributes:
        job: Id of the job.
        owner: Who submitted it.
        priority: Jobs of a higher one start first.
        order: Place in the order of arrival, from 1.
        resources: What its processes take.
        since: When it entered the queue, seconds since 1970; default 0.
        limit: Seconds that it may run; None if it may for as long as it needs.
        preemptible: Whether it may be stopped to make room.
    """

    job: str
    owner: str
    priority: int
    order: int
    resources: Resources
    since: float = 0.0
    limit: float | None = None
    preemptible: bool = False


@dataclass(frozen=True)
class Use:
    """Resources that a job of an owner has held.

    Attributes:
        owner: Whose job.
        resources: What it held.
        start: Since when, seconds since 1970.
        stop: Until when.
    """

    owner: str
    resources: Resources
    start: float
    stop: float

    def decayed(self, now: float, rate: float) -> float:
        """Returns the seconds that it held them, each by exp(-rate * its age)."""
        stop, start = (rate * (now - each) for each in (self.stop, self.start))
        return (math.exp(-stop) - math.exp(-start)) / rate


@dataclass(frozen=True)
class PastUse:
    """What several jobs of an owner have held, as one sum.

    Attributes:
        owner: Whose jobs.
        resources: What each of them held.
        seconds: For how long together, older seconds counting less.
        time: When that was the sum, seconds since 1970.
    """

    owner: str
    resources: Resources
    seconds: float
    time: float

    def decayed(self, now: float, rate: float) -> float:
        """Returns what the sum is by now."""
        return self.seconds * math.exp(-rate * (now - self.time))


def summed(uses: Sequence[Use | PastUse], half_life: float) -> list[PastUse]:
    """Returns one sum for each owner and kind of process: `used_by` finds the same of them.

    >>> uses = [Use("ann", Resources(), 0, 10), Use("ann", Resources(), 20, 50)]
    >>> [(each.owner, round(each.seconds)) for each in summed(uses, 1e9)]
    [('ann', 40)]
    """
    rate = math.log(2) / half_life
    time = max((each.stop if isinstance(each, Use) else each.time for each in uses), default=0.0)
    sums: dict[tuple[str, str], float] = defaultdict(float)
    kinds: dict[str, Resources] = {}
    for use in uses:
        kind = use.resources.model_dump_json()
        kinds[kind] = use.resources
        sums[use.owner, kind] += use.decayed(time, rate)
    return [PastUse(owner, kinds[kind], seconds, time) for (owner, kind), seconds in sums.items()]


def share_of(resources: Resources, totals: Mapping[str, float]) -> float:
    """Returns a job's dominant share: of the resource of which it takes the largest part.

    Source: Ghodsi et al., Dominant Resource Fairness, 2011,
    https://www.usenix.org/conference/nsdi11/dominant-resource-fairness-fair-allocation-multiple-resource-types

    >>> share_of(Resources(workers=2, cpus=1, gpus=1), {"CPU": 16, "GPU": 4})
    0.5
    """
    each = resources.of_each().items()
    parts = [resources.workers * amount / totals[name] for name, amount in each if totals.get(name)]
    return max(parts, default=0.0)


def used_by(
    uses: Iterable[Use | PastUse], totals: Mapping[str, float], now: float, half_life: float
) -> dict[str, float]:
    """Returns what each owner has used, in seconds of the whole cluster, older use counting less.

    The sum over uses of share * integral of 2^-((now - t) / half_life) dt.

    >>> used_by([Use("ann", Resources(cpus=4), 0, 10)], {"CPU": 8}, 10, 1e9)
    {'ann': 5.0}
    """
    found: dict[str, float] = defaultdict(float)
    rate = math.log(2) / half_life
    for use in uses:
        found[use.owner] += share_of(use.resources, totals) * use.decayed(now, rate)
    return {owner: round(value, 3) for owner, value in found.items()}


def in_line(
    waiting: Iterable[Waiting],
    uses: Iterable[Use | PastUse] = (),
    nodes: Sequence[Mapping[str, float]] = (),
    now: float = 0.0,
    policy: LinePolicy | None = None,
) -> list[Waiting]:
    """Returns the waiting jobs, the next one first.

    By priority, to which time in the queue adds; within one, the owner who has used the least comes
    next, with the job that came first.

    Args:
        waiting: The jobs.
        uses: What jobs have held so far.
        nodes: Resources of each node in all, by Ray's names.
        now: Seconds since 1970.
        policy: How the line is ordered.
    """
    policy, totals = policy or LinePolicy(), totals_of(nodes)
    levels: dict[int, list[Waiting]] = defaultdict(list)
    for job in waiting:
        levels[_level(job, now, policy)].append(job)
    half_life = policy.half_life
    used = {} if half_life is None else used_by(uses, totals, now, half_life)
    line: list[Waiting] = []
    for level in sorted(levels, reverse=True):
        jobs = sorted(levels[level], key=lambda job: (job.order, job.job))
        line += jobs if half_life is None else _fairly(jobs, dict(used), nodes)
    return line


def _fairly(
    jobs: Sequence[Waiting], used: dict[str, float], nodes: Sequence[Mapping[str, float]]
) -> list[Waiting]:
    """Returns jobs so that each next one is of the owner who has had the least.

    One that fits no node has no turn, which would count for those of its owner behind it.
    """
    totals = totals_of(nodes)
    own: dict[str, list[Waiting]] = defaultdict(list)
    for job in reversed(jobs):
        own[job.owner].append(job)
    line = []
    shares: dict[tuple[Kind, int], float] = {}  # of the whole cluster; 0 for what fits no node
    while own:
        owner = min(own, key=lambda name: (used.get(name, 0.0), own[name][-1].order, name))
        job = own[owner].pop()
        kind = kind_of(job.resources), job.resources.workers
        if kind not in shares:
            fits = fits_ever(job.resources, nodes)
            shares[kind] = share_of(job.resources, totals) if fits else 0.0
        used[owner] = used.get(owner, 0.0) + TURN_SECONDS * shares[kind]
        line.append(job)
        if not own[owner]:
            del own[owner]
    return line


def _level(job: Waiting, now: float, policy: LinePolicy) -> int:
    waited = max(0.0, now - job.since) if job.since else 0.0
    return job.priority + (int(waited / policy.aging) if policy.aging else 0)


def totals_of(nodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns what all nodes have together, by Ray's names."""
    totals: dict[str, float] = defaultdict(float)
    for node in nodes:
        for name, amount in node.items():
            totals[name] += amount
    return dict(totals)
