"""Answers what users ask of the queue: to cancel, retry, repair or remove a job."""

from __future__ import annotations

from collections.abc import Callable

from cluster.queue.archive import Archive
from cluster.queue.cluster import Cluster, reported
from cluster.queue.events import ENDED, Transition
from cluster.queue.job import Job
from cluster.queue.known_jobs import KnownJobs
from cluster.queue.messages import Request
from cluster.queue.record_files import put_aside
from cluster.queue.records import INBOX, QueueRecords
from cluster.queue.repair import repair
from cluster.queue.rules import after_request, is_postponed
from flowkd.errors import StoreError


class Requests:
    """The requests of users that wait for the dispatcher.

    Args:
        records: The queue's part of the store.
        jobs: All jobs that the dispatcher knows.
        cluster: Runs attempts.
        archive: Holds jobs that ended before.
        move: Writes a transition of a job; False if another dispatcher was faster.
    """

    def __init__(
        self,
        records: QueueRecords,
        jobs: KnownJobs,
        cluster: Cluster,
        archive: Archive,
        move: Callable[[Job, Transition | None], bool],
    ) -> None:
        self.records, self.jobs, self.cluster = records, jobs, cluster
        self.archive, self.move = archive, move
        self._told: set[str] = set()

    def answer_all(self) -> None:
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
            with self.jobs.own_fault(request.job), reported(f"job {request.job}"):
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
        return self.move(job, after_request(request, job.state, self.jobs.next_order()))

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
        self.archive.restore(request.job)
        job = self.jobs.load_again(request.job)
        if job is None:
            return False
        return self.move(job, after_request(request, job.state, self.jobs.next_order()))

    def _remove(self, name: str) -> None:
        """Removes a job's records, and fails what waits for it."""
        for job in self.jobs.in_state("queued"):
            if name in job.spec.depends_on:
                reason = f"job {name}, on which it depends, was removed"
                self.move(job, Transition("failed", reason=reason))
        self.archive.forget(name)
        self.records.remove(name)
