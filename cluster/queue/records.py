"""Reads and writes the queue's part of the store: `queue/<job>/`, `queue-inbox/`, `queue.json`."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import ValidationError

from cluster.queue.events import Event, JobState, state_after
from cluster.queue.messages import (
    Accepted,
    AttemptOutcome,
    Heartbeat,
    QueueTable,
    Request,
    RequestKind,
)
from cluster.queue.spec import JobSpec
from flowkd.config import Config, parse_config
from flowkd.errors import ConfigError, FlowkdError, StoreError
from flowkd.store.exclusive import create_alone
from flowkd.store.store import Store

QUEUE = "queue"
INBOX = "queue-inbox"
ASIDE = "queue-damaged"
C = TypeVar("C", bound=Config)


class QueueError(FlowkdError):
    """A request to the queue that it refuses, with what the user can do about it."""


class RecordError(ConfigError):
    """A record that cannot be read: whatever it is about has to wait until it is repaired."""


class QueueRecords:
    """The queue's part of a store.

    Args:
        store: The store.
        clock: Returns seconds since 1970; default the machine's clock.
    """

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self.clock = clock

    def accept(self, spec: JobSpec) -> bool:
        """Writes a job's spec, with which it is accepted; False if it was accepted before.

        Raises:
            QueueError: There is another job of this id.
        """
        mine = Accepted(spec=spec, submitted=self.clock(), nonce=uuid.uuid4().hex)
        path = (QUEUE, spec.id, "spec.json")
        if self.store.create(_dump(mine), *path):
            # Where creates are not atomic, another one may have replaced it at once.
            known = self.spec(spec.id)
            if known.spec == spec:
                return known.nonce == mine.nonce
        self.check_same(spec)
        return False

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
        """Returns the ids of all jobs that were ever accepted, by name."""
        return self.store.list(QUEUE)

    def exists(self, job: str) -> bool:
        """Tells whether a job was accepted."""
        return self.store.exists(QUEUE, job, "spec.json")

    def spec(self, job: str) -> Accepted:
        """Returns a job's spec.

        Raises:
            QueueError: There is no such job.
            RecordError: What is there is no spec, or that of another job.
        """
        found = self._read_if_there(Accepted, QUEUE, job, "spec.json")
        if found is None:
            known = ", ".join(self.jobs()[-5:]) or "none"
            raise QueueError(f"no job {job!r} in the queue of {self.store.uri}; there are: {known}")
        if found.spec.id != job:
            raise RecordError(
                f"{QUEUE}/{job}/spec.json: expected job {job!r}; got {found.spec.id!r}"
            )
        return found

    def events(self, job: str) -> list[Event]:
        """Returns the events of a job, by number.

        Raises:
            RecordError: One cannot be read, or is of another number than its name says.
        """
        names = self.store.list(QUEUE, job, "events")
        return [self._event(job, name) for name in names]

    def _event(self, job: str, name: str) -> Event:
        event = self._read(Event, QUEUE, job, "events", name)
        if name != event_name(event.number):
            raise RecordError(
                f"{QUEUE}/{job}/events/{name}: expected an event of its own number; got "
                f"{event.number}"
            )
        return event

    def state(self, job: str) -> JobState:
        """Returns the state of a job after its events."""
        return state_after(self.events(job))

    def append(self, job: str, event: Event) -> bool:
        """Writes the next event; False if another dispatcher has written one of its number."""
        return self.store.create(_dump(event), QUEUE, job, "events", event_name(event.number))

    def ask(self, job: str, what: RequestKind, by: str = "") -> None:
        """Asks the dispatcher for something that a user wants done with a job.

        Raises:
            QueueError: There is no such job.
        """
        if job not in self.jobs():
            self.spec(job)  # which says so
        request = Request(job=job, what=what, by=by, time=self.clock(), nonce=uuid.uuid4().hex)
        self.store.write(_dump(request), INBOX, f"{request.nonce}.json")

    def inbox(self) -> tuple[dict[str, Request], dict[str, str]]:
        """Returns the requests of users by the name of their object, the oldest first.

        Returns:
            The requests, and why each object that is none cannot be read.
        """
        found, faults = {}, {}
        for name in self.store.list(INBOX):
            try:
                request = self._read_if_there(Request, INBOX, name)
            except (RecordError, StoreError) as error:
                faults[name] = str(error)
                continue
            if request is not None:
                found[name] = request
        return dict(sorted(found.items(), key=lambda item: item[1].time)), faults

    def answered(self, name: str) -> None:
        """Removes a request that is done."""
        self.store.remove(INBOX, name)

    def put_aside(self, *parts: str) -> None:
        """Moves a record that cannot be read to `queue-damaged/`, where nothing looks for it."""
        inner = self.store.list(*parts)
        for name in inner:  # where there is a folder in its place
            self.put_aside(*parts, name)
        if not inner:
            name = f"{'_'.join(parts)}-{uuid.uuid4().hex[:8]}"
            self.store.write(self.store.read(*parts), ASIDE, name)
        self.store.remove(*parts)

    def repair(self, job: str) -> list[str]:
        """Moves the records of a job that cannot be read out of its way, and returns their paths.

        What an event said is then forgotten, and an attempt whose outcome it was counts as lost.

        Raises:
            RecordError: Its spec cannot be read: without it there is no job.
        """
        self.spec(job)
        kinds: dict[str, type[Config]] = {
            "heartbeat.json": Heartbeat,
            "outcome.json": AttemptOutcome,
        }
        events = (("events", name) for name in self.store.list(QUEUE, job, "events"))
        attempts = (
            ("attempts", number, name)
            for number in self.store.list(QUEUE, job, "attempts")
            for name in kinds
        )
        moved = []
        for parts in (*events, *attempts):
            try:
                if parts[0] == "events":
                    self._event(job, parts[-1])
                else:
                    self._read_if_there(kinds[parts[-1]], QUEUE, job, *parts)
            except RecordError:
                self.put_aside(QUEUE, job, *parts)
                moved.append("/".join(parts))
        return moved

    def remove(self, job: str) -> None:
        """Removes all records of a job, or of what is none, whatever it is called."""
        self.store.remove_child(job, QUEUE)

    def begin(self, job: str, attempt: int) -> bool:
        """Claims an attempt for this process; False if another one has.

        Whoever runs it must have claimed it, so that who claims it without running it has made
        sure that it never runs.
        """
        claim = {"nonce": uuid.uuid4().hex, "time": self.clock()}
        *folder, name = _attempt(job, attempt, "begun.json")
        return create_alone(self.store, json.dumps(claim).encode(), "/".join(folder), name)

    def has_begun(self, job: str, attempt: int) -> bool:
        """Tells whether a process has claimed an attempt."""
        return self.store.exists(*_attempt(job, attempt, "begun.json"))

    def beat(self, job: str, attempt: int, heartbeat: Heartbeat) -> None:
        """Writes an attempt's heartbeat."""
        self.store.write(_dump(heartbeat), *_attempt(job, attempt, "heartbeat.json"))

    def heartbeat(self, job: str, attempt: int) -> Heartbeat | None:
        """Returns an attempt's last heartbeat; None before the first."""
        return self._read_if_there(Heartbeat, *_attempt(job, attempt, "heartbeat.json"))

    def end(self, job: str, attempt: int, outcome: AttemptOutcome) -> None:
        """Writes an attempt's outcome."""
        self.store.write(_dump(outcome), *_attempt(job, attempt, "outcome.json"))

    def outcome(self, job: str, attempt: int) -> AttemptOutcome | None:
        """Returns an attempt's outcome; None if it has not ended, or could not write it."""
        return self._read_if_there(AttemptOutcome, *_attempt(job, attempt, "outcome.json"))

    def ask_to_stop(self, job: str, attempt: int) -> None:
        """Asks an attempt through the store to stop, where Ray cannot stop it."""
        self.store.write(b"{}\n", *_attempt(job, attempt, "stop.json"))

    def must_stop(self, job: str, attempt: int) -> bool:
        """Tells whether an attempt is asked to stop."""
        return self.store.exists(*_attempt(job, attempt, "stop.json"))

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
            return self._read_if_there(QueueTable, "queue.json")
        except RecordError:  # the dispatcher writes it anew within seconds
            return None

    def _read(self, kind: type[C], *parts: str) -> C:
        """Reads a record; keys that a newer version has added stay where they are, unread."""
        path = "/".join(parts)
        try:
            values = self.store.read_json(*parts)
        except (StoreError, RecursionError) as error:
            if not isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                if isinstance(error, RecursionError):
                    raise RecordError(f"{path}: expected JSON; got lists in lists") from error
                if isinstance(error.__cause__, ValueError | IsADirectoryError):
                    raise RecordError(f"{path}: {error}") from error
            raise
        try:
            return kind.model_validate(values, extra="ignore")
        except ValidationError:
            try:
                return parse_config(kind, values, source=path)  # which tells every faulty key
            except ConfigError as error:
                raise RecordError(str(error)) from error

    def _read_if_there(self, kind: type[C], *parts: str) -> C | None:
        try:
            return self._read(kind, *parts)
        except StoreError as error:
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                return None
            raise


def event_name(number: int) -> str:
    """Returns the name of an event's object."""
    return f"{number:08}.json"


def _attempt(job: str, attempt: int, name: str) -> tuple[str, ...]:
    return QUEUE, job, "attempts", str(attempt), name


def _dump(value: Config) -> bytes:
    return value.model_dump_json(indent=2).encode() + b"\n"


def describe(spec: JobSpec) -> dict[str, Any]:
    """Returns the fields of a spec that are not at their default."""
    return spec.model_dump(mode="json", exclude_defaults=True)
