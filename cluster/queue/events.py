"""What has happened to a job: numbered events, and the state that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from flowkd.config import Config

JobStatus = Literal[
    "queued", "starting", "running", "cancelling", "succeeded", "failed", "cancelled"
]
ACTIVE: tuple[JobStatus, ...] = ("starting", "running", "cancelling")
ENDED: tuple[JobStatus, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Transition:
    """What is to happen to a job next.

    Attributes:
        state: The state that it enters.
        reason: Why, in words; default none.
        exit_code: With which its attempt ended, if it did so by itself.
        lost: Whether the cluster lost the attempt: it is not the job's own failure.
        pause: Seconds that it waits before it is tried again; default 0.
        attempt: Number of the attempt that begins; None if none does.
        order: Its new place in the order of arrival; None to keep the one it has.
    """

    state: JobStatus
    reason: str = ""
    exit_code: int | None = None
    lost: bool = False
    pause: float = 0.0
    attempt: int | None = None
    order: int | None = None


class Event(Config):
    """A transition of a job: `queue/<job>/events/<number>.json`, written once.

    Attributes:
        number: From 1.
        state: That it is in from now on.
        time: Of the dispatcher's clock, seconds since 1970.
        attempt: Which one this is about, from 1; 0 before the first.
        order: Place in the order of arrival, where it first comes.
        reason: In words.
        exit_code: With which the attempt ended, if it did so by itself.
        lost: Whether the cluster lost the attempt: it is not the job's own failure.
        pause: Seconds that a job waits before it is tried again.
    """

    number: int
    state: JobStatus
    time: float
    attempt: int = 0
    order: int | None = None
    reason: str = ""
    exit_code: int | None = None
    lost: bool = False
    pause: float = 0.0


@dataclass(frozen=True)
class JobState:
    """Where a job stands.

    Attributes:
        events: How many there are.
        state: Its state; None before the dispatcher has seen it.
        attempt: The last one that was begun, from 1.
        failures: Attempts that failed by themselves since it was last asked to be tried again.
        losses: Attempts that the cluster lost, one after the other.
        order: Place in the order of arrival.
        queued_at, started_at, ended_at: Since when it waits, has run, has ended; 0 if never.
        pause: Seconds from `queued_at` on before it may be tried again.
        reason: Of the last transition.
    """

    events: int = 0
    state: JobStatus | None = None
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    order: int = 0
    queued_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    pause: float = 0.0
    reason: str = ""

    def next_event(self, transition: Transition, time: float) -> Event:
        """Returns the event that makes a transition from here."""
        attempt = self.attempt if transition.attempt is None else transition.attempt
        values = asdict(transition) | {"attempt": attempt}
        return Event(number=self.events + 1, time=time, **values)

    def after(self, event: Event) -> JobState:
        """Returns the state after an event."""
        again = self.state in ENDED
        known = replace(
            self,
            events=event.number,
            state=event.state,
            attempt=event.attempt,
            reason=event.reason,
            pause=event.pause,
            order=self.order if event.order is None else event.order,
            failures=0 if again else self.failures,
            losses=self.losses + 1 if event.lost else self.losses,
        )
        if event.state == "queued":
            failed = self.state in ACTIVE and not event.lost
            return replace(
                known,
                queued_at=event.time,
                started_at=0.0,
                ended_at=0.0,
                failures=known.failures + failed,
                losses=known.losses if event.lost else 0,
            )
        if event.state == "running":
            return replace(known, started_at=event.time)
        if event.state in ENDED:
            return replace(known, ended_at=event.time)
        return known


def state_after(events: Sequence[Event]) -> JobState:
    """Returns where a job stands after all its events, in the order of their numbers."""
    state = JobState()
    for event in events:
        state = state.after(event)
    return state
