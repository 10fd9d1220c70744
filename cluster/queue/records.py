"""Reads and writes the queue's part of the store: `queue/<job>/`, `queue-inbox/`, `queue.json`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

from cluster.queue.events import Event, JobState, state_after
from cluster.queue.messages import (
    Accepted,
    AttemptOutcome,
    Heartbeat,
    QueueTable,
    Request,
    RequestKind,
)
from cluster.queue.record_files import RecordError, dump, read_if_there, read_record
from cluster.queue.spec import JobSpec
from flowkd.errors import FlowkdError, StoreError
from flowkd.names import is_name
from flowkd.store.exclusive import create_alone
from flowkd.store.store import Store

QUEUE = "queue"
INBOX = "queue-inbox"
ENDED_JOBS = "queue-ended/jobs"


class QueueError(FlowkdError):
    """A request to the queue that it refuses, with what the user can do about it."""


class QueueRecords:
    """The queue's part of a store.

    Args:
        store: The store.
        clock: Returns seconds since 1970; default the machine's clock.
        folder: Where the jobs lie; default those of the queue, not yet in its archive.

    Attributes:
        ended: The same of the jobs that were moved to the archive; None for these themselves.
    """

    def __init__(
        self, store: Store, clock: Callable[[], float] = time.time, folder: str = QUEUE
    ) -> None:
        self.store = store
        self.clock = clock
        self.folder = folder
        self.ended = QueueRecords(store, clock, ENDED_JOBS) if folder == QUEUE else None

    def where(self, job: str) -> QueueRecords:
        """Returns the records among which a job is: these, or those of the archive."""
        if self.ended is None or not is_name(job) or self.exists(job):
            return self
        return self.ended if self.ended.exists(job) else self

    def _attempt(self, job: str, attempt: int, name: str) -> tuple[str, ...]:
        return self.folder, job, "attempts", str(attempt), name

    def accept(self, spec: JobSpec) -> bool:
        """Writes a job's spec, with which it is accepted; False if it was accepted before.

        Raises:
            QueueError: There is another job of this id.
        """
        if self._has_ended(spec):
            return False
        mine = Accepted(spec=spec, submitted=self.clock(), nonce=uuid.uuid4().hex)
        path = (self.folder, spec.id, "spec.json")
        if self.store.create(dump(mine), *path):
            # Where creates are not atomic, another one may have replaced it at once.
            known = self.spec(spec.id)
            if known.spec == spec:
                # Or it was moved to the archive meanwhile: the dispatcher knows it by its nonce.
                return known.nonce == mine.nonce and not self._has_ended(spec)
        self.check_same(spec)
        return False

    def _has_ended(self, spec: JobSpec) -> bool:
        """Tells whether a job is in the archive; raises QueueError for another one of its id."""
        if self.ended is None or not self.ended.exists(spec.id):
            return False
        self.ended.check_same(spec)
        return True

    def check_same(self, spec: JobSpec) -> None:
        """Raises QueueError if the job of a spec's id has another spec."""
        known = self.spec(spec.id)
        if known.spec == spec:
            return
        theirs, ours = known.spec.model_dump(mode="json"), spec.model_dump(mode="json")
        differ = [key for key in ours if ours[key] != theirs[key]]
        remedy = (
            "give the pipeline's file another `name`"
            if spec.pipeline
            else "submit under another --id"
        )
        raise QueueError(
            f"job {spec.id!r} is in the queue with another {', '.join(differ)}: {remedy}; "
            f"`flowkd show {spec.id}` tells what it is"
        )

    def jobs(self) -> list[str]:
        """Returns the ids of all jobs here, by name."""
        return self.store.list(self.folder)

    def exists(self, job: str) -> bool:
        """Tells whether a job is here."""
        return self.store.exists(self.folder, job, "spec.json")

    def spec(self, job: str) -> Accepted:
        """Returns a job's spec.

        Raises:
            QueueError: There is no such job.
            RecordError: What is there is no spec, or that of another job.
        """
        found = read_if_there(self.store, Accepted, self.folder, job, "spec.json")
        if found is None:
            known = ", ".join(self.jobs()[-5:]) or "none"
            raise QueueError(f"no job {job!r} in the queue of {self.store.uri}; there are: {known}")
        if found.spec.id != job:
            raise RecordError(
                f"{self.folder}/{job}/spec.json: expected job {job!r}; got {found.spec.id!r}"
            )
        return found

    def events(self, job: str) -> list[Event]:
        """Returns the events of a job, by number.

        Raises:
            RecordError: One cannot be read, or is of another number than its name says.
        """
        names = self.store.list(self.folder, job, "events")
        return [self.event(job, name) for name in names]

    def event(self, job: str, name: str) -> Event:
        """Returns an event by the name of its object; raises RecordError if it cannot be read."""
        event = read_record(self.store, Event, self.folder, job, "events", name)
        if name != event_name(event.number):
            raise RecordError(
                f"{self.folder}/{job}/events/{name}: expected an event of its own number; got "
                f"{event.number}"
            )
        return event

    def state(self, job: str) -> JobState:
        """Returns the state of a job after its events."""
        return state_after(self.events(job))

    def append(self, job: str, event: Event) -> bool:
        """Writes the next event; False if another dispatcher has written one of its number."""
        return self.store.create(dump(event), self.folder, job, "events", event_name(event.number))

    def ask(self, job: str, what: RequestKind, by: str = "") -> None:
        """Asks the dispatcher for something that a user wants done with a job.

        Raises:
            QueueError: There is no such job.
        """
        if job not in self.jobs():
            self.where(job).spec(job)  # which says so
        request = Request(job=job, what=what, by=by, time=self.clock(), nonce=uuid.uuid4().hex)
        self.store.write(dump(request), INBOX, f"{request.nonce}.json")

    def inbox(self) -> tuple[dict[str, Request], dict[str, str]]:
        """Returns the requests of users by the name of their object, the oldest first.

        Returns:
            The requests, and why each object that is none cannot be read.
        """
        found, faults = {}, {}
        for name in self.store.list(INBOX):
            try:
                request = read_if_there(self.store, Request, INBOX, name)
            except (RecordError, StoreError) as error:
                faults[name] = str(error)
                continue
            if request is not None:
                found[name] = request
        return dict(sorted(found.items(), key=lambda item: item[1].time)), faults

    def answered(self, name: str) -> None:
        """Removes a request that is done."""
        self.store.remove(INBOX, name)

    def remove(self, job: str) -> None:
        """Removes all records of a job, or of what is none, whatever it is called."""
        self.store.remove_child(job, self.folder)

    def begin(self, job: str, attempt: int) -> bool:
        """Claims an attempt for this process; False if another one has.

        Whoever runs it must have claimed it, so that who claims it without running it has made
        sure that it never runs.
        """
        claim = {"nonce": uuid.uuid4().hex, "time": self.clock()}
        *folder, name = self._attempt(job, attempt, "begun.json")
        return create_alone(self.store, json.dumps(claim).encode(), "/".join(folder), name)

    def has_begun(self, job: str, attempt: int) -> bool:
        """Tells whether a process has claimed an attempt."""
        return self.store.exists(*self._attempt(job, attempt, "begun.json"))

    def beat(self, job: str, attempt: int, heartbeat: Heartbeat) -> None:
        """Writes an attempt's heartbeat."""
        self.store.write(dump(heartbeat), *self._attempt(job, attempt, "heartbeat.json"))

    def heartbeat(self, job: str, attempt: int) -> Heartbeat | None:
        """Returns an attempt's last heartbeat; None before the first."""
        return read_if_there(self.store, Heartbeat, *self._attempt(job, attempt, "heartbeat.json"))

    def end(self, job: str, attempt: int, outcome: AttemptOutcome) -> None:
        """Writes an attempt's outcome."""
        self.store.write(dump(outcome), *self._attempt(job, attempt, "outcome.json"))

    def outcome(self, job: str, attempt: int) -> AttemptOutcome | None:
        """Returns an attempt's outcome; None if it has not ended, or could not write it."""
        return read_if_there(
            self.store, AttemptOutcome, *self._attempt(job, attempt, "outcome.json")
        )

    def ask_to_stop(self, job: str, attempt: int) -> None:
        """Asks an attempt through the store to stop, where Ray cannot stop it."""
        self.store.write(b"{}\n", *self._attempt(job, attempt, "stop.json"))

    def must_stop(self, job: str, attempt: int) -> bool:
        """Tells whether an attempt is asked to stop."""
        return self.store.exists(*self._attempt(job, attempt, "stop.json"))

    def cancelled(self, job: str) -> bool:
        """Tells whether a job is cancelled, or about to be."""
        # In this order: a request is removed after the event is there.
        requests, _ = self.inbox()
        asked = any(each.job == job and each.what == "cancel" for each in requests.values())
        return asked or self.state(job).state in ("cancelling", "cancelled")

    def write_table(self, table: QueueTable) -> None:
        """Replaces the table of all jobs."""
        self.store.write(table.model_dump_json().encode(), "queue.json")

    def table(self) -> QueueTable | None:
        """Returns the table of all jobs; None where no dispatcher has written one that is whole."""
        try:
            return read_if_there(self.store, QueueTable, "queue.json")
        except RecordError:  # the dispatcher writes it anew within seconds
            return None


def event_name(number: int) -> str:
    """Returns the name of an event's object."""
    return f"{number:08}.json"


def describe(spec: JobSpec) -> dict[str, Any]:
    """Returns the fields of a spec that are not at their default."""
    return spec.model_dump(mode="json", exclude_defaults=True)
