"""The queue's JSON objects in the store, written by users, the dispatcher and attempts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cluster.queue.admission import QueueLimits
from cluster.queue.spec import JobSpec
from flowkd.config import Config

RequestKind = Literal["cancel", "retry", "repair", "remove"]


class Accepted(Config):
    """A job that was accepted: `queue/<job>/spec.json`, written once.

    Attributes:
        spec: What was submitted.
        submitted: When, by the clock of who submitted it, seconds since 1970.
        nonce: Random hex digits that tell this writer from others.
    """

    spec: JobSpec
    submitted: float
    nonce: str


class Request(Config):
    """What a user asks of the dispatcher: `queue-inbox/<nonce>.json`, removed once it is done.

    Attributes:
        job: Id of the job.
        what: Whether to cancel the job, to try it again after it has ended, to move those of its
            records out of the way that cannot be read, or to remove all of them.
        by: Who asks; default nobody.
        time: When, by the clock of who asks, seconds since 1970.
        nonce: Random hex digits, the name of the object.
    """

    job: str
    what: RequestKind
    by: str = ""
    time: float
    nonce: str


class Heartbeat(Config):
    """A sign of life of an attempt: `queue/<job>/attempts/<n>/heartbeat.json`.

    Clocks differ: whoever reads it looks for change, not at its time.

    Attributes:
        beats: Number of heartbeats so far.
        time: When, by the clock of its node, seconds since 1970.
        progress: How far the job is, such as "30 of 100"; default nothing.
    """

    beats: int
    time: float
    progress: str = ""


class AttemptOutcome(Config):
    """How an attempt ended: `queue/<job>/attempts/<n>/outcome.json`.

    Attributes:
        exit_code: Exit code of its command.
        reason: Why it was stopped, in words; empty if the command ended by itself.
        lost: Whether it was stopped for no reason of the job's own; default false.
        cancelled: Whether it was not started because the job is cancelled; default false.
        time: When, by the clock of its node, seconds since 1970.
    """

    exit_code: int
    reason: str = ""
    lost: bool = False
    cancelled: bool = False
    time: float


class JobRow(Config):
    """A job in the table that the dispatcher writes for all to read.

    Attributes:
        job: Id of the job.
        kind: What it does; empty if its spec cannot be read.
        pipeline: Name of the pipeline that it belongs to; empty if to none.
        owner: Who submitted it.
        priority: Jobs of a higher one start first.
        state: A JobStatus, or `submitted` before the dispatcher has seen it, or `damaged` while a
            record of it cannot be read.
        position: Place among those that wait, from 1; None if it does not wait.
        attempt: Number of the last attempt, from 1; 0 before the first.
        waited: Seconds in the queue before the last attempt ran.
        ran: Seconds that the last attempt has run.
        progress: How far it is, by its last heartbeat.
        reason: Why it is in this state, in words.
    """

    job: str
    kind: str
    pipeline: str = ""
    owner: str
    priority: int
    state: str
    position: int | None = None
    attempt: int = 0
    waited: float = 0.0
    ran: float = 0.0
    progress: str = ""
    reason: str = ""


class QueueTable(Config):
    """All jobs as the dispatcher sees them: `queue.json`.

    Attributes:
        time: When it was written, by the dispatcher's clock, seconds since 1970.
        dispatcher: Name of the dispatcher, new with each start.
        limits: How many jobs the queue takes and runs.
        kinds: The kinds of jobs that it runs.
        nodes: Resources of each node that is there or may be added; empty while the cluster
            cannot be asked.
        rows: Jobs that run, then those that wait, in their order, then those that have ended.
    """

    time: float
    dispatcher: str
    limits: QueueLimits = QueueLimits()
    kinds: tuple[str, ...] = ()
    nodes: list[dict[str, float]] = Field(default_factory=list)
    rows: list[JobRow] = Field(default_factory=list)
