"""The dispatcher: reads what is asked, watches what runs, starts what fits."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from cluster.queue.admission import Room, admit, fits_ever, in_line
from cluster.queue.autoscale import Growth
from cluster.queue.config import QueueConfig
from cluster.queue.events import ACTIVE, ENDED, Event, JobStatus
from cluster.queue.job import Job, as_waiting
from cluster.queue.messages import Request
from cluster.queue.ray_jobs import ClusterError, Known
from cluster.queue.records import QueueError, QueueRecords
from cluster.queue.spec import JobSpec
from cluster.queue.table import TableWriter
from cluster.queue.watch import submit, watch
from flowkd.errors import ConfigError

MANY, READERS = 20, 16


class Cluster(Protocol):
    """What a dispatcher needs of Ray; each method raises ClusterError when it cannot be asked."""

    def submit(self, job: str, attempt: int) -> None:
        """Hands over an attempt, once."""

    def look(self, job: str, attempt: int) -> Known:
        """Tells what is known of an attempt."""

    def stop(self, job: str, attempt: int) -> None:
        """Stops an attempt that is alive."""

    def nodes(self) -> list[dict[str, float]]:
        """Returns what each node has in all."""

    def left(self) -> Room:
        """Returns what each node has left."""

    def ask_for(self, bundles: list[dict[str, float]]) -> None:
        """Asks for nodes on which all of these fit; replaces what was asked for before."""


class Dispatcher:
    """Runs the queue: `tick` again and again.

    It may stop for ever between any two calls: what it has not written, the next one does. Two at
    once do no harm: an event's number and an attempt are taken once.

    Args:
        records: Of the queue.
        cluster: Ray.
        config: Of the queue.
        tell: Is called with each transition, for webhooks.
    """

    def __init__(
        self,
        records: QueueRecords,
        cluster: Cluster,
        config: QueueConfig,
        tell: Callable[[JobSpec, Event], None] = lambda spec, event: None,
    ) -> None:
        self.records = records
        self.cluster = cluster
        self.config = config
        self.tell = tell
        self.name = uuid.uuid4().hex[:8]
        self.known: dict[str, Job] = {}
        self.invalid: dict[str, str] = {}
        self._epoch = time.time() - time.monotonic()
        self._table = TableWriter(self)
        self._growth = Growth(cluster, config)

    def now(self) -> float:
        """Returns seconds since 1970, by a clock that nobody sets while this process lives."""
        return self._epoch + time.monotonic()

    def tick(self) -> None:
        """Looks at everything once; a store that fails ends it, a job that fails does not."""
        self._discover()
        for request in self.records.requests():
            self._answer(request)
        for job in self.jobs_in(*ACTIVE):
            self._try(watch, job)
        for job in self.jobs_in("queued"):
            self._give_up(job)
        self._start_what_fits()
        self._table.write()

    def jobs_in(self, *states: JobStatus) -> list[Job]:
        """Returns the jobs in any of these states."""
        return [job for job in self.known.values() if job.state.state in states]

    def _try(self, step: Callable[[Dispatcher, Job], None], job: Job) -> None:
        try:
            step(self, job)
        except ClusterError as error:
            print(f"dispatcher: job {job.id}: {error}; trying again", flush=True)

    def _discover(self) -> None:
        """Takes in jobs that were submitted since; those of a lost dispatcher with their events."""
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
                self.move(job, "queued", order=self._next_order())

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

    def move(self, job: Job, state: JobStatus, **more: object) -> bool:
        """Writes the next event of a job; False, and its state anew, if another dispatcher did."""
        values = {"attempt": job.state.attempt, **more}
        event = Event.model_validate(
            {"number": job.state.events + 1, "state": state, "time": self.now(), **values}
        )
        if not self.records.append(job.id, event):
            job.learn(self.records.state(job.id), self.now())
            return False
        job.learn(job.state.after(event), self.now())
        self.tell(job.spec, event)
        return True

    def _answer(self, request: Request) -> None:
        """Does what a user asks, and forgets it once it is done."""
        job = self.known.get(request.job)
        if job is None:
            if request.job in self.invalid:
                self.records.answered(request)
            return
        job.learn(self.records.state(job.id), job.since)
        state, by = job.state.state, f" by {request.by}" if request.by else ""
        if request.what == "retry":
            if state == "cancelling":
                return  # once it has ended
            reason = f"to be tried again{by}"
            if state in ENDED:
                done = self.move(job, "queued", reason=reason, order=self._next_order())
            else:
                done = True
        elif state in (*ENDED, "cancelling"):
            done = True
        else:
            to: JobStatus = "cancelled" if state in (None, "queued") else "cancelling"
            done = self.move(job, to, reason=f"cancelled{by}")
        if done:
            self.records.answered(request)

    def _give_up(self, job: Job) -> None:
        """Ends a job that waits for what cannot come, or for too long since it could start."""
        could_start = job.could_start()
        for name in job.spec.depends_on:
            before = self.known.get(name)
            if before is None:
                return
            if before.state.state in ("failed", "cancelled"):
                reason = f"job {name}, on which it depends, {before.state.state}"
                self.move(job, "failed", reason=reason)
                return
            if before.state.state != "succeeded":
                return
            could_start = max(could_start, min(before.state.ended_at, before.since))
        limit = job.spec.limits.queued
        if limit is not None and self.now() - could_start > limit:
            self.move(job, "failed", reason=f"waited for longer than {limit:g} s")

    def _start_what_fits(self) -> None:
        """Starts the jobs whose turn it is."""
        try:
            self._start(self.jobs_in("queued"))
        except ClusterError as error:
            print(f"dispatcher: {error}; nothing is started", flush=True)

    def _start(self, queued: list[Job]) -> None:
        if not queued:
            self._growth.ask((job.spec.resources for job in self.jobs_in(*ACTIVE)), None)
            return
        nodes, left = self.cluster.nodes(), self.cluster.left()
        active = self.jobs_in(*ACTIVE)
        totals = Room([dict(node) for node in nodes])
        for job in active:
            totals.take(job.spec.resources)
            if job.state.state == "starting" or self.now() - job.since < self.config.settling:
                left.take(job.spec.resources)
        ready = as_waiting(job for job in queued if self._may_start(job))
        running = Counter(job.spec.owner for job in active)
        possible = self.config.possible(nodes)
        admitted = admit(ready, running, possible, (totals, left), self.config.limits)
        for waiting in admitted:
            job = self.known[waiting.job]
            if self.move(job, "starting", attempt=job.state.attempt + 1):
                self._try(submit, job)

        still = [each for each in in_line(ready) if each not in admitted]
        wanted = (each.resources for each in still if fits_ever(each.resources, possible))
        self._growth.ask((job.spec.resources for job in self.jobs_in(*ACTIVE)), next(wanted, None))

    def _may_start(self, job: Job) -> bool:
        before = (self.known.get(name) for name in job.spec.depends_on)
        done = all(each is not None and each.state.state == "succeeded" for each in before)
        return done and self.now() >= job.could_start()
