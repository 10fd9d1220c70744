"""The dispatcher: takes in jobs and requests, watches attempts, starts the jobs that fit."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cluster.queue.admission import admit
from cluster.queue.autoscale import NodeRequests
from cluster.queue.cluster import Cluster, ClusterError
from cluster.queue.config import QueueConfig
from cluster.queue.events import ACTIVE, ENDED, Event, Transition
from cluster.queue.free import FreeResources
from cluster.queue.housekeeping import Housekeeping
from cluster.queue.job import Job, as_running, as_use, as_waiting
from cluster.queue.known_jobs import KnownJobs
from cluster.queue.line import PastUse, Use, Waiting, in_line, totals_of
from cluster.queue.messages import Request
from cluster.queue.record_files import put_aside
from cluster.queue.records import INBOX, QueueRecords
from cluster.queue.repair import repair
from cluster.queue.rules import after_request, after_waiting, is_postponed, may_start
from cluster.queue.spec import JobSpec
from cluster.queue.table import TableWriter, table_of
from cluster.queue.watch import watch
from flowkd.errors import StoreError

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
        self._told: set[str] = set()
        self._tidy_until = self.now() + TIDY_SECONDS
        self._table = TableWriter(records)
        self._requests = NodeRequests(cluster) if config.autoscaling_nodes else None

    def tick(self) -> None:
        """Looks at all jobs once.

        A job of which a record cannot be read is set aside, and all others go on. Errors of the
        store as a whole are raised, and those of the cluster printed.
        """
        self._house.begin(self.now())
        for job in self.jobs.take_in():
            if job.state.state is None:
                self._move(job, Transition("queued", order=self._next_order()))
        self._answer_all()
        for job in self.jobs.in_state(*ACTIVE):
            with self.jobs.own_fault(job.id), _reported(f"job {job.id}", job):
                self._move(job, watch(job, self.records, self.cluster, self.config, self.now()))
        for job in self.jobs.in_state("queued"):
            with self.jobs.own_fault(job.id):
                impossible = self.config.no_command(job.spec.kind)
                if impossible:
                    self._move(job, Transition("failed", reason=impossible))
                else:
                    self._move(job, after_waiting(job, self.jobs.with_past(), self.now()))
        if self.now() < self._tidy_until:
            with _reported("attempts may have left something"):
                self.cluster.end_orphans()
        nodes: list[dict[str, float]] = []
        with _reported("nothing is started"):
            nodes = self.cluster.nodes()
            self._start_what_fits(self._line(nodes), nodes)
        possible = self.config.possible_nodes(nodes) if nodes else []
        line = self._line(nodes)
        table = table_of(self.jobs, line, self.now(), self.name, self.config, possible)
        self._table.write(table)
        self._house.tick(self.now())

    def _next_order(self) -> int:
        return max((job.state.order for job in self.jobs.known.values()), default=0) + 1

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

    def _answer_all(self) -> None:
        """Answers the requests of users; what is none is moved away, or named once."""
        requests, faults = self.records.inbox()
        for name, fault in faults.items():
            if name in self._told:
                continue
            self._told.add(name)
            print(f"dispatcher: a request is put aside: {fault}", flush=True)
            try:
                put_aside(self.records.store, INBOX, name)
            except StoreError as error:
                print(f"dispatcher: {INBOX}/{name!r} stays: {error}; remove it", flush=True)
        for name, request in requests.items():
            with self.jobs.own_fault(request.job), _reported(f"job {request.job}"):
                if self._answer(request):
                    self.records.answered(name)

    def _answer(self, request: Request) -> bool:
        """Does what a user asks; False while it has to wait."""
        job = self.jobs.known.get(request.job)
        if job is None:
            return self._answer_damaged(request)
        job.learn(self.records.state(job.id), job.since)
        if request.what == "remove" and job.state.state in ENDED:
            self._remove(job.id)
        if request.what in ("repair", "remove"):
            return True
        if is_postponed(request, job.state):
            return False
        return self._move(job, after_request(request, job.state, self._next_order()))

    def _answer_damaged(self, request: Request) -> bool:
        """Mends or removes a job that is set aside; what else is asked waits for that."""
        damaged = self.jobs.damaged.get(request.job)
        if damaged is None:  # it is in the archive, was removed, or was none: without a spec
            if request.what == "retry":
                return self._retry_archived(request)
            if request.what == "remove" and not self.records.exists(request.job):
                self._remove(request.job)
            return True
        if request.what == "remove":
            if damaged.job is not None:
                self.cluster.stop(request.job, damaged.job.state.attempt)
            self._remove(request.job)
        elif request.what == "repair":
            moved = repair(self.records, request.job)
            print(f"dispatcher: job {request.job}: moved away {', '.join(moved)}", flush=True)
            self.jobs.recheck(request.job)
        return request.what in ("repair", "remove")

    def _retry_archived(self, request: Request) -> bool:
        """Takes a job back from the archive, and puts it into the line again."""
        if self.records.where(request.job) is self.records:
            return True
        self._house.archive.restore(request.job)
        job = self.jobs.load_again(request.job)
        if job is None:
            return False
        return self._move(job, after_request(request, job.state, self._next_order()))

    def _remove(self, name: str) -> None:
        """Removes a job's records, and fails what waits for it."""
        for job in self.jobs.in_state("queued"):
            if name in job.spec.depends_on:
                reason = f"job {name}, on which it depends, was removed"
                self._move(job, Transition("failed", reason=reason))
        self._house.archive.forget(name)
        self.records.remove(name)

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
        if self._requests is not None:
            held = (job.spec.resources for job in self.jobs.running())
            self._requests.update(held, blocked.resources if blocked else None)

    def _start(self, job: Job, backfill: bool) -> None:
        attempt = job.state.attempt + 1
        with self.jobs.own_fault(job.id), _reported(f"job {job.id}", job):
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


@contextmanager
def _reported(about: str, job: Job | None = None) -> Iterator[None]:
    """Prints that the cluster could not be asked, and notes it of the job; the next tick asks."""
    trouble = ""
    try:
        yield
    except ClusterError as error:
        trouble = f"{error}; trying again"
        print(f"dispatcher: {about}: {trouble}", flush=True)
    if job is not None:
        job.trouble = trouble
