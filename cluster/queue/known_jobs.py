"""The jobs that a dispatcher knows, and those set aside because a record of theirs is damaged."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from cluster.queue.events import ACTIVE, JobStatus
from cluster.queue.job import Job
from cluster.queue.messages import Accepted
from cluster.queue.record_files import RecordError
from cluster.queue.records import QueueError, QueueRecords
from flowkd.errors import StoreError

MANY, READERS = 20, 16  # jobs from which on they are read by so many threads
RECHECK_SECONDS = 10.0  # between two looks at a job that is set aside


@dataclass
class Absent:
    """A name that is no job's yet: its folder may be there just before its spec.

    Attributes:
        since: When it was first looked at, seconds since 1970.
        checked: When it was last looked at.
    """

    since: float
    checked: float


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
        past: Archived jobs for which others wait, by id.
    """

    def __init__(self, records: QueueRecords, now: Callable[[], float]) -> None:
        self.records, self.now = records, now
        self.known: dict[str, Job] = {}
        self.damaged: dict[str, DamagedJob] = {}
        self.past: dict[str, Job] = {}
        self._absent: dict[str, Absent] = {}

    def with_past(self) -> Mapping[str, Job]:
        """Returns the known jobs, and the archived ones for which others wait, by id."""
        return ChainMap(self.known, self.past)

    def in_state(self, *states: JobStatus) -> list[Job]:
        """Returns the known jobs in any of these states."""
        return [job for job in self.known.values() if job.state.state in states]

    def running(self) -> list[Job]:
        """Returns the jobs that have, or may have, an attempt on the cluster."""
        aside = (each.job for each in self.damaged.values() if each.job is not None)
        return [*self.in_state(*ACTIVE), *(job for job in aside if job.state.state in ACTIVE)]

    def next_order(self) -> int:
        """Returns the place in the line of a job that comes now: behind all others."""
        return max((job.state.order for job in self.known.values()), default=0) + 1

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
        self._find_past(there)
        return new

    def load_again(self, name: str) -> Job | None:
        """Returns a job that came back from the archive, which is known from now on."""
        job = self._load(name)
        if job is not None:
            self.known[name] = job
        return job

    def _find_past(self, there: set[str]) -> None:
        """Looks archived jobs up for which others wait, once each.

        Of the names that were no job's, those are forgotten that have no folder now and for which
        nobody waits.
        """
        needed = {name for job in self.in_state("queued") for name in job.spec.depends_on}
        needed -= self.known.keys() | self.damaged.keys()
        wanted = (there - self.known.keys()) | needed
        self._absent = {name: each for name, each in self._absent.items() if name in wanted}
        self.past = {name: job for name, job in self.past.items() if name in needed}
        for name in sorted(needed - self.past.keys() - self._recently_absent()):
            found = self._load_past(name)
            if found is None:
                self._note_absent(name)
            else:
                self.past[name] = found

    def _load_past(self, name: str) -> Job | None:
        ended = self.records.ended
        try:
            if ended is None or not ended.exists(name):
                return None
            accepted = ended.spec(name)
            return Job(accepted.spec, accepted.submitted, ended.state(name), self.now())
        except (RecordError, QueueError) as error:
            print(f"dispatcher: job {name}, for which others wait: {error}", flush=True)
            return None

    def _note_absent(self, name: str) -> None:
        now = self.now()
        self._absent[name] = Absent(self._absent.get(name, Absent(now, now)).since, now)

    def _recently_absent(self) -> set[str]:
        """Returns the names not to be looked at yet: again at once, then at twice the time.

        A job whose spec was about to be written must not lose its place to those behind it.
        """
        now = self.now()
        return {
            name
            for name, each in self._absent.items()
            if now - each.checked < min(RECHECK_SECONDS, each.checked - each.since)
        }

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
        aside = {name for name, each in self.damaged.items() if each.checked > due}
        return sorted(there - self.known.keys() - aside - self._recently_absent())

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
                self._tidy(name)
                return None
            if self._is_double(accepted):
                self.records.store.remove(self.records.folder, name, "spec.json")
                self.records.remove(name)
                return None
            job = Job(accepted.spec, accepted.submitted, self.records.state(name), self.now())
            if job.state.state in ACTIVE:
                self.records.outcome(name, job.state.attempt)
                self.records.heartbeat(name, job.state.attempt)
            return job
        return None

    def _tidy(self, name: str) -> None:
        """Removes what is left of a job that moved to the archive; else it is no job's."""
        if self.records.ended is not None and self.records.ended.exists(name):
            self.records.remove(name)
        else:
            self._note_absent(name)

    def _is_double(self, accepted: Accepted) -> bool:
        """Tells whether a job was accepted again while the first of its id moved to the archive."""
        name, ended = accepted.spec.id, self.records.ended
        if ended is None or not ended.exists(name):
            return False
        return ended.spec(name).nonce != accepted.nonce and not self.records.events(name)

    def _set_aside(self, name: str, reason: str) -> None:
        before = self.damaged.get(name)
        if before is None or before.reason != reason:
            print(f"dispatcher: job {name} is set aside: {reason}", flush=True)
        job = self.known.pop(name, before.job if before else None)
        self.damaged[name] = DamagedJob(reason, job, self.now())
