"""A job as a dispatcher knows it."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.queue.admission import Waiting
from cluster.queue.events import JobState
from cluster.queue.messages import Heartbeat
from cluster.queue.spec import JobSpec


class Job:
    """A job as a dispatcher knows it; times are of its own clock, that only moves forward.

    Attributes:
        spec: As it was submitted.
        state: After all events that this dispatcher knows of.
        since: When it learnt of this state.
        begun: Whether its attempt is known to have begun.
        heartbeat: The last one of that attempt.
        heard: When it was last heard of.
    """

    def __init__(self, spec: JobSpec, submitted: float, state: JobState, now: float) -> None:
        self.spec = spec
        self.submitted = submitted
        self.state = state
        self.since = self.heard = now
        self.begun = False
        self.heartbeat: Heartbeat | None = None

    @property
    def id(self) -> str:
        """Its name."""
        return self.spec.id

    def learn(self, state: JobState, now: float) -> None:
        """Takes in a new state."""
        if state.attempt != self.state.attempt:
            self.begun, self.heartbeat, self.heard = False, None, now
        self.state, self.since = state, now

    def could_start(self) -> float:
        """Returns when its pause is over, whatever another dispatcher's clock said."""
        return min(self.state.queued_at, self.since) + self.state.pause


def as_waiting(jobs: Iterable[Job]) -> list[Waiting]:
    """Returns jobs as admission sees them."""
    return [
        Waiting(job.id, job.spec.owner, job.spec.priority, job.state.order, job.spec.resources)
        for job in jobs
    ]
