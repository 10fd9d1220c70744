"""The jobs that a dispatcher knows, and those set aside because a record of theirs is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.queue.events import ACTIVE, JobStatus
from cluster.queue.job import Job
from cluster.queue.records import QueueError, QueueRecords, RecordError
from flowkd.errors import StoreError

MANY, READERS = 20, 16  # jobs from which on they are read by so many threads
RECHECK_SECONDS = 10.0  # between two looks at a job that is set aside


@dataclass
class DamagedJob:
    """A job that is set aside.

    Attributes:
        reason: Which of its records cannot be read, and why.
        job: What was known of it before; None if it was never taken in.
        checked: When it was last looked at, seconds since 1970.
    """

    reason: str
    job: Job | None
    checked: float


class KnownJobs:
    """All jobs of a queue, each either known or set aside.

    Args:
        records: The queue's part of the store.
        now: Returns seconds since 1970.

    Attributes:
        known: The jobs whose records can be read, by id.
        damaged: Those set aside, by id.
    """

    def __init__(self, records: QueueRecords, now: Callable[[], float]) -> None:
        self.records, self.now = records, now
        self.known: dict[str, Job] = {}
        self.damaged: dict[str, DamagedJob] = {}

    def in_state(self, *states: JobStatus) -> list[Job]:
        """Returns the known jobs in any of these states."""
        return [job for job in self.known.values() if job.state.state in states]

    def running(self) -> list[Job]:
        """Returns the jobs that have, or may have, an attempt on the cluster."""
        aside = (each.job for each in self.damaged.values() if each.job is not None)
        return [*self.in_state(*ACTIVE), *(job for job in aside if job.state.state in ACTIVE)]

    def take_in(self) -> list[Job]:
        """Takes in what was submitted or mended since the last call, and forgets what was removed.

        Returns:
            The new ones, in the order in which they came.

        Raises:
            StoreError: The store cannot be read.
        """
        there = set(self.records.jobs())
        for name in (self.known.keys() | self.damaged.keys()) - there:
            self.known.pop(name, None)
            self.damaged.pop(name, None)
        new = [job for job in self._load_all(self._unread(there)) if job is not None]
        # Clocks of submitters differ: they decide only among those that are seen at once.
        new.sort(key=lambda job: (job.submitted, job.id))
        for job in new:
            if self.damaged.pop(job.id, None):
                print(f"dispatcher: job {job.id} can be read again", flush=True)
            self.known[job.id] = job
        return new

    def recheck(self, name: str) -> None:
        """Has the next call of `take_in` look at a job that is set aside."""
        if name in self.damaged:
            self.damaged[name].checked = float("-inf")

    @contextmanager
    def own_fault(self, name: str) -> Iterator[None]:
        """Sets a job aside if a record of it cannot be read, so that all others go on.

        Raises:
            StoreError: Nothing can be read.
        """
        try:
            yield
        except RecordError as error:
            self._set_aside(name, str(error))
        except StoreError as error:
            self.records.jobs()  # which fails as well if the store is away
            self._set_aside(name, str(error))

    def _unread(self, there: set[str]) -> list[str]:
        due = self.now() - RECHECK_SECONDS
        waits = {name for name, each in self.damaged.items() if each.checked > due}
        return sorted(there - self.known.keys() - waits)

    def _load_all(self, names: list[str]) -> list[Job | None]:
        if len(names) < MANY:
            return [self._load(name) for name in names]
        with ThreadPoolExecutor(READERS) as readers:  # after a restart, each read from afar
            return list(readers.map(self._load, names))

    def _load(self, name: str) -> Job | None:
        with self.own_fault(name):
            try:
                accepted = self.records.spec(name)
            except QueueError:  # an attempt's folder without a spec
                return None
            job = Job(accepted.spec, accepted.submitted, self.records.state(name), self.now())
            if job.state.state in ACTIVE:
                self.records.outcome(name, job.state.attempt)
                self.records.heartbeat(name, job.state.attempt)
            return job
        return None

    def _set_aside(self, name: str, reason: str) -> None:
        before = self.damaged.get(name)
        if before is None or before.reason != reason:
            print(f"dispatcher: job {name} is set aside: {reason}", flush=True)
        job = self.known.pop(name, before.job if before else None)
        self.damaged[name] = DamagedJob(reason, job, self.now())
