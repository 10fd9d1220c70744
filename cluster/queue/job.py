"""What a dispatcher keeps in memory of a job: its spec, its state, and when it heard of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cluster.queue.admission import Running
from cluster.queue.events import STOPPING, JobState
from cluster.queue.line import Use, Waiting
from cluster.queue.messages import Heartbeat
from cluster.queue.spec import JobSpec


@dataclass
class Job:
    """A job as a dispatcher knows it; its times are of the dispatcher's own clock.

    Attributes:
        spec: What was submitted.
        submitted: When it was submitted, by the clock of who did, seconds since 1970.
        state: Follows from all events that this dispatcher knows of.
        since: When the dispatcher learnt of this state.
        begun: Whether its last attempt is known to have begun.
        heartbeat: The last one of that attempt; None before the first.
        heard: When anything was last heard of that attempt.
        trouble: Why the cluster could not be asked about it last; empty if it could.
    """

    spec: JobSpec
    submitted: float
    state: JobState
    since: float
    begun: bool = field(default=False, init=False)
    heartbeat: Heartbeat | None = field(default=None, init=False)
    heard: float = field(init=False)
    trouble: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.heard = self.since

    @property
    def id(self) -> str:
        """The id of its spec."""
        return self.spec.id

    @property
    def progress(self) -> str:
        """How far its last attempt is, in words; empty before it has said so."""
        return self.heartbeat.progress if self.heartbeat else ""

    def learn(self, state: JobState, now: float) -> None:
        """Takes in a new state; a new attempt has not been heard of yet."""
        if state.attempt != self.state.attempt:
            self.begun, self.heartbeat, self.heard = False, None, now
        self.state, self.since = state, now

    def hear(self, heartbeat: Heartbeat | None, now: float) -> None:
        """Notes a heartbeat, if it is another one than before: only an attempt that lives beats."""
        if heartbeat is not None and heartbeat != self.heartbeat:
            self.begun, self.heartbeat, self.heard = True, heartbeat, now

    def backoff_ends(self) -> float:
        """Returns when its backoff is over, whatever another dispatcher's clock said."""
        return min(self.state.queued_at, self.since) + self.state.backoff


def as_waiting(jobs: Iterable[Job]) -> list[Waiting]:
    """Returns what admission needs of jobs that wait."""
    return [
        Waiting(
            job.id,
            job.spec.owner,
            job.spec.priority,
            job.state.order,
            job.spec.resources,
            job.state.queued_at,
            job.spec.timeouts.running,
            job.spec.preemptible,
        )
        for job in jobs
    ]


def as_running(jobs: Iterable[Job]) -> list[Running]:
    """Returns what admission needs of jobs that run."""
    return [
        Running(
            job.id,
            job.spec.owner,
            job.spec.priority,
            job.spec.resources,
            job.state.started_at or job.since,
            job.spec.timeouts.running,
            job.spec.preemptible,
            job.state.backfill,
            job.state.state in STOPPING,
        )
        for job in jobs
    ]


def as_use(jobs: Iterable[Job], now: float) -> list[Use]:
    """Returns what the last attempt of each job that has run one has used of the cluster."""
    return [
        Use(job.spec.owner, job.spec.resources, job.state.started_at, job.state.ended_at or now)
        for job in jobs
        if job.state.started_at
    ]
