"""The dispatcher: takes in jobs and requests, watches attempts, starts the jobs that fit."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from cluster.queue.admission import FreeResources, admit, fits_ever, in_line
from cluster.queue.autoscale import NodeRequests
from cluster.queue.cluster import Cluster, ClusterError
from cluster.queue.config import QueueConfig
from cluster.queue.events import ACTIVE, Event, JobStatus, Transition
from cluster.queue.job import Job, as_waiting
from cluster.queue.messages import Request
from cluster.queue.records import QueueError, QueueRecords
from cluster.queue.rules import after_request, after_waiting, is_postponed, may_start
from cluster.queue.spec import JobSpec
from cluster.queue.table import TableWriter, table_of
from cluster.queue.watch import watch
from flowkd.errors import ConfigError

MANY, READERS = 20, 16  # jobs from which on they are read by so many threads


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
        self.known: dict[str, Job] = {}
        self.invalid: dict[str, str] = {}
        self._table = TableWriter(records)
        self._requests = NodeRequests(cluster) if config.autoscaling_nodes else None

    def tick(self) -> None:
        """Looks at all jobs once; raises errors of the store, and prints those of the cluster."""
        self._discover()
        for request in self.records.requests():
            self._answer(request)
        for job in self.jobs_in(*ACTIVE):
            with _reported(f"job {job.id}"):
                self._move(job, watch(job, self.records, self.cluster, self.config, self.now()))
        for job in self.jobs_in("queued"):
            self._move(job, after_waiting(job, self.known, self.now()))
        possible: list[dict[str, float]] = []
        with _reported("nothing is started"):
            nodes = self.cluster.nodes()
            possible = self.config.possible_nodes(nodes)
            self._start_what_fits(nodes, possible)
        jobs, now, limits = self.known.values(), self.now(), self.config.limits
        self._table.write(table_of(jobs, self.invalid, now, self.name, limits, possible))

    def jobs_in(self, *states: JobStatus) -> list[Job]:
        """Returns the jobs in any of these states."""
        return [job for job in self.known.values() if job.state.state in states]

    def _discover(self) -> None:
        """Takes in the jobs submitted since the last tick; after a restart, all of them."""
        names = [
            name
            for name in self.records.jobs()
            if name not in self.known and name not in self.invalid
        ]
        new = [job for job in self._load_all(names) if job is not None]
        # Clocks of submitters differ: they decide only among those that are seen at once.
        new.sort(key=lambda job: (job.submitted, job.id))
        self.known.update((job.id, job) for job in new)
        for job in new:
            if job.state.state is None:
                self._move(job, Transition("queued", order=self._next_order()))

    def _load_all(self, names: list[str]) -> list[Job | None]:
        if len(names) < MANY:
            return [self._load(name) for name in names]
        with ThreadPoolExecutor(READERS) as readers:  # after a restart, each read from afar
            return list(readers.map(self._load, names))

    def _load(self, name: str) -> Job | None:
        try:
            accepted = self.records.spec(name)
            state = self.records.state(name)
        except QueueError:  # an attempt's folder without a spec
            return None
        except ConfigError as error:
            self.invalid[name] = str(error)
            print(f"dispatcher: job {name} cannot be run: {error}", flush=True)
            return None
        return Job(accepted.spec, accepted.submitted, state, self.now())

    def _next_order(self) -> int:
        return max((job.state.order for job in self.known.values()), default=0) + 1

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
        job.learn(job.state.after(event), self.now())
        self.tell(job.spec, event)
        return True

    def _answer(self, request: Request) -> None:
        """Does what a user asks, and removes the request once it is done."""
        job = self.known.get(request.job)
        if job is None:
            if request.job in self.invalid:
                self.records.answered(request)
            return
        job.learn(self.records.state(job.id), job.since)
        if is_postponed(request, job.state):
            return
        if self._move(job, after_request(request, job.state, self._next_order())):
            self.records.answered(request)

    def _start_what_fits(
        self, nodes: list[dict[str, float]], possible: list[dict[str, float]]
    ) -> None:
        """Starts the jobs whose turn it is, and asks for nodes for the next one.

        Args:
            nodes: The resources of each node that is there.
            possible: Those of each node that is there or may be added.

        Raises:
            ClusterError: The cluster cannot tell what is free.
        """
        ready = as_waiting(
            job for job in self.jobs_in("queued") if may_start(job, self.known, self.now())
        )
        waits = None
        if ready:
            running = Counter(job.spec.owner for job in self.jobs_in(*ACTIVE))
            admitted = admit(ready, running, possible, self._estimates(nodes), self.config.limits)
            for waiting in admitted:
                self._start(self.known[waiting.job])
            still = [each for each in in_line(ready) if each not in admitted]
            wanted = (each.resources for each in still if fits_ever(each.resources, possible))
            waits = next(wanted, None)
        if self._requests is not None:
            self._requests.update((job.spec.resources for job in self.jobs_in(*ACTIVE)), waits)

    def _start(self, job: Job) -> None:
        attempt = job.state.attempt + 1
        if self._move(job, Transition("starting", attempt=attempt)):
            with _reported(f"job {job.id}"):
                self.cluster.submit(job.id, attempt)

    def _estimates(self, nodes: list[dict[str, float]]) -> tuple[FreeResources, FreeResources]:
        """Returns the free resources, by the jobs that run and by what Ray says."""
        by_queue, by_ray = FreeResources([dict(node) for node in nodes]), self.cluster.available()
        for job in self.jobs_in(*ACTIVE):
            by_queue.take(job.spec.resources)
            settled = self.now() - job.since >= self.config.resource_settle_period
            if job.state.state == "starting" or not settled:
                by_ray.take(job.spec.resources)
        return by_queue, by_ray


@contextmanager
def _reported(about: str) -> Iterator[None]:
    """Prints that the cluster could not be asked; the next tick tries again."""
    try:
        yield
    except ClusterError as error:
        print(f"dispatcher: {about}: {error}; trying again", flush=True)
