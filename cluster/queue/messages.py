"""What is said through the store: by users, by the dispatcher, by attempts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cluster.queue.admission import QueueLimits
from cluster.queue.spec import JobSpec
from flowkd.config import Config


class Accepted(Config):
    """A spec and when it was written, by the clock of who submitted it."""

    spec: JobSpec
    submitted: float
    nonce: str


class Request(Config):
    """What a user asks of the dispatcher: `queue-inbox/<nonce>.json`."""

    job: str
    what: Literal["cancel", "retry"]
    by: str = ""
    time: float
    nonce: str


class Heartbeat(Config):
    """What an attempt says while it runs; whoever reads it looks for change, not at its time."""

    beats: int
    time: float
    progress: str = ""


class AttemptOutcome(Config):
    """How an attempt ended.

    Attributes:
        exit_code: Of its command.
        reason: In words, where it did not end by itself.
        lost: Whether it was stopped for no reason of the job's own.
        time: By the clock of its node.
    """

    exit_code: int
    reason: str = ""
    lost: bool = False
    time: float


class JobRow(Config):
    """A job in the table that the dispatcher writes for all to read."""

    job: str
    kind: str
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
        time: By the dispatcher's clock.
        dispatcher: Its name.
        limits: What the queue allows.
        nodes: What each node of the cluster has, or would have if it came; empty while the
            dispatcher cannot ask.
        rows: What runs, what waits in its order, what has ended.
    """

    time: float
    dispatcher: str
    limits: QueueLimits = QueueLimits()
    nodes: list[dict[str, float]] = Field(default_factory=list)
    rows: list[JobRow] = Field(default_factory=list)
