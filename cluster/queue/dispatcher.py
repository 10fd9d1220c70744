"""The dispatcher: takes in jobs and requests, watches attempts, starts the jobs that fit."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from cluster.queue.admission import admit
from cluster.queue.autoscale import NodeRequests
from cluster.queue.cluster import Cluster, reported
from cluster.queue.config import QueueConfig
from cluster.queue.events import ACTIVE, Event, Transition
from cluster.queue.free import FreeResources
from cluster.queue.housekeeping import Housekeeping
from cluster.queue.job import Job, as_running, as_use, as_waiting
from cluster.queue.known_jobs import KnownJobs
from cluster.queue.line import PastUse, Use, Waiting, in_line, totals_of
from cluster.queue.records import QueueRecords
from cluster.queue.requests import Requests
from cluster.queue.rules import after_waiting, may_start
from cluster.queue.spec import JobSpec
from cluster.queue.table import TableWriter, table_of
from cluster.queue.watch import watch

# After the end of an attempt: the cluster notices that a driver or a node is gone some time later.
TIDY_SECONDS = 60.0


def steady_clock() -> Callable[[], float]:
    """Returns a clock of seconds since 1970 that nobody sets while this process lives."""
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()


class Dispatcher:
    """Runs the queue: `tick` again and again.

    It may stop for ever between any two calls: what it has not written, the next one does. Two at
    once do no harm: an event's number and an attempt are taken once.

    Args:
        records: The queue's part of the store.
        cluster: Runs attempts.
        config: How the queue is run.
        tell: Called with each transition, for webhooks; default nobody.
        clock: Returns seconds since 1970; default a steady one.
    """

    def __init__(
        self,
        records: QueueRecords,
        cluster: Cluster,
        config: QueueConfig,
        tell: Callable[[JobSpec, Event], None] = lambda spec, event: None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.records = records
        self.cluster = cluster
        self.config = config
        self.tell = tell
        self.now = clock or steady_clock()
        self.name = uuid.uuid4().hex[:8]
        self.jobs = KnownJobs(records, self.now)
        self._house = Housekeeping(records, self.jobs, config)
        self._requests = Requests(records, self.jobs, cluster, self._house.archive, self._move)
        self._tidy_until = self.now() + TIDY_SECONDS
        self._table = TableWriter(records)
        self._nodes = NodeRequests(cluster) if config.autoscaling_nodes else None

    def tick(self) -> None:
        """Looks at all jobs once.

        A job of which a record cannot be read is set aside, and all others go on. Errors of the
        store as a whole are raised, and those of the cluster printed.
        """
        self._house.begin(self.now())
        for job in self.jobs.take_in():
            if job.state.state is None:
                self._move(job, Transition("queued", order=self.jobs.next_order()))
        self._requests.answer_all()
        for job in self.jobs.in_state(*ACTIVE):
            with self.jobs.own_fault(job.id), reported(f"job {job.id}", job):
                self._move(job, watch(job, self.records, self.cluster, self.config, self.now()))
        for job in self.jobs.in_state("queued"):
            with self.jobs.own_fault(job.id):
                impossible = self.config.no_command(job.spec.kind)
                if impossible:
                    self._move(job, Transition("failed", reason=impossible))
                else:
                    self._move(job, after_waiting(job, self.jobs.with_past(), self.now()))
        if self.now() < self._tidy_until:
            with reported("attempts may have left something"):
                self.cluster.end_orphans()
        nodes: list[dict[str, float]] = []
        with reported("nothing is started"):
            nodes = self.cluster.nodes()
            self._start_what_fits(self._line(nodes), nodes)
        possible = self.config.possible_nodes(nodes) if nodes else []
        line = self._line(nodes)
        table = table_of(self.jobs, line, self.now(), self.name, self.config, possible)
        self._table.write(table)
        self._house.tick(self.now())

    def _move(self, job: Job, transition: Transition | None) -> bool:
        """Writes a transition, if there is one, as the job's next event.

        Returns:
            False if another dispatcher wrote an event of that number; the job's state is then read
            anew.
        """
        if transition is None:
            return True
        event = job.state.next_event(transition, self.now())
        if not self.records.append(job.id, event):
            job.learn(self.records.state(job.id), self.now())
            return False
        if job.state.state in ACTIVE and transition.state not in ACTIVE:
            self._tidy_until = self.now() + TIDY_SECONDS
        job.learn(job.state.after(event), self.now())
        self.tell(job.spec, event)
        return True

    def _line(self, nodes: list[dict[str, float]]) -> list[Waiting]:
        """Returns the jobs that wait, the next one first."""
        now, jobs = self.now(), self.jobs
        waiting = as_waiting(jobs.in_state("queued"))
        uses: list[Use | PastUse] = [*as_use(jobs.known.values(), now), *self._house.used]
        return in_line(waiting, uses, nodes, now, self.config.limits.line)

    def _start_what_fits(self, line: list[Waiting], nodes: list[dict[str, float]]) -> None:
        """Starts the jobs whose turn it is, stops those that make room, and asks for nodes.

        Args:
            line: The jobs that wait, the next one first.
            nodes: The resources of each node that is there.

        Raises:
            ClusterError: The cluster cannot tell what is free.
        """
        known, now = self.jobs.with_past(), self.now()
        possible = self.config.possible_nodes(nodes)
        ready = [each for each in line if may_start(known[each.job], known, now)]
        blocked = None
        if ready:
            running, limits = as_running(self.jobs.running()), self.config.limits
            found = admit(ready, running, possible, self._estimates(nodes), limits, now)
            blocked = found.blocked
            for each in found.start:
                self._start(known[each.job], each.job in found.backfill)
            for name in found.preempt:
                self._make_room(known[name], found.blocked)
        if self._nodes is not None:
            held = (job.spec.resources for job in self.jobs.running())
            self._nodes.update(held, blocked.resources if blocked else None)

    def _start(self, job: Job, backfill: bool) -> None:
        attempt = job.state.attempt + 1
        with self.jobs.own_fault(job.id), reported(f"job {job.id}", job):
            if self._move(job, Transition("starting", attempt=attempt, backfill=backfill)):
                self.cluster.submit(job.id, attempt, job.spec.kind)

    def _make_room(self, job: Job, other: Waiting | None) -> None:
        reason = f"made room for {other.job}" if other else ""
        with self.jobs.own_fault(job.id):
            self._move(job, Transition("preempting", reason=reason))

    def _estimates(self, nodes: list[dict[str, float]]) -> tuple[FreeResources, FreeResources]:
        """Returns the free resources, by the jobs that run and by what Ray says.

        The queue knows not on which node a job is, so that it counts all as one.
        """
        by_queue, by_ray = FreeResources([totals_of(nodes)]), self.cluster.available()
        for job in self.jobs.running():
            by_queue.take(job.spec.resources)
            settled = self.now() - job.since >= self.config.resource_settle_period
            if job.state.state == "starting" or not settled:
                by_ray.take(job.spec.resources)
        return by_queue, by_ray
