"""The events of a job, numbered transitions, and the state that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from flowkd.config import Config

JobStatus = Literal[
    "queued", "starting", "running", "preempting", "cancelling", "succeeded", "failed", "cancelled"
]
ACTIVE: tuple[JobStatus, ...] = ("starting", "running", "preempting", "cancelling")
STOPPING: tuple[JobStatus, ...] = ("preempting", "cancelling")
ENDED: tuple[JobStatus, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Transition:
    """A change of a job's state that is not written yet.

    Attributes:
        state: The state that it enters.
        reason: Why, in words; default none.
        exit_code: Exit code of its attempt, if that ended by itself.
        lost: Whether its attempt was lost, which is no failure of the job.
        backoff: Seconds before another attempt may start; default 0.
        attempt: Number of the attempt that starts; None if none does.
        order: Its new place in the order of arrival; None to keep the one it has.
        progress: How far a lost attempt came, in words; default not at all.
        backfill: Whether an attempt starts before others that are in line before it.
    """

    state: JobStatus
    reason: str = ""
    exit_code: int | None = None
    lost: bool = False
    backoff: float = 0.0
    attempt: int | None = None
    order: int | None = None
    progress: str = ""
    backfill: bool = False


class Event(Config):
    """A transition that was written: `queue/<job>/events/<number>.json`.

    Attributes:
        number: Number of the event, from 1.
        state: The state that the job enters.
        time: When, by the dispatcher's clock, seconds since 1970.
        attempt: Number of the attempt that it is about, from 1; 0 before the first.
        order: The job's new place in the order of arrival; None where it keeps the one it has.
        reason: Why, in words; default none.
        exit_code: Exit code of the attempt, if it ended by itself.
        lost: Whether the attempt was lost, which is no failure of the job.
        backoff: Seconds before another attempt may start; default 0.
        progress: How far a lost attempt came, in words; default not at all.
        backfill: Whether the attempt starts before others that are in line before it.
    """

    number: int
    state: JobStatus
    time: float
    attempt: int = 0
    order: int | None = None
    reason: str = ""
    exit_code: int | None = None
    lost: bool = False
    backoff: float = 0.0
    progress: str = ""
    backfill: bool = False


@dataclass(frozen=True)
class JobState:
    """The state of a job after its events.

    Attributes:
        events: Number of events so far.
        state: The state of the last event; None before the first.
        attempt: Number of the last attempt, from 1; 0 before the first.
        failures: Number of attempts that failed by themselves since the last `flowkd retry`.
        losses: Number of attempts that were lost, one after the other, none of which came any
            further.
        progress: How far the last lost attempt came, in words.
        order: Place in the order of arrival, from 1.
        queued_at: When it last entered the queue, seconds since 1970; 0 if never.
        started_at: When its last attempt began to run; 0 if it has not.
        ended_at: When it ended; 0 if it has not.
        backoff: Seconds from `queued_at` on before another attempt may start.
        reason: Why it is in this state, in words.
        backfill: Whether its attempt started before others that were in line before it.
    """

    events: int = 0
    state: JobStatus | None = None
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    progress: str = ""
    order: int = 0
    queued_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    backoff: float = 0.0
    reason: str = ""
    backfill: bool = False

    def next_event(self, transition: Transition, time: float) -> Event:
        """Returns the event that records a transition from this state."""
        attempt = self.attempt if transition.attempt is None else transition.attempt
        values = asdict(transition) | {"attempt": attempt}
        return Event(number=self.events + 1, time=time, **values)

    def losses_after(self, progress: str) -> int:
        """Returns the number of losses after another one: 1 if that attempt came any further."""
        return 1 if progress and progress != self.progress else self.losses + 1

    def after(self, event: Event) -> JobState:
        """Returns the state after an event."""
        again = self.state in ENDED
        known = replace(
            self,
            events=event.number,
            state=event.state,
            attempt=event.attempt,
            reason=event.reason,
            backoff=event.backoff,
            order=self.order if event.order is None else event.order,
            failures=0 if again else self.failures,
            losses=self.losses_after(event.progress) if event.lost else self.losses,
            progress=event.progress if event.lost else self.progress,
            backfill=event.backfill if event.state == "starting" else self.backfill,
        )
        if event.state == "queued":
            made_room = self.state == "preempting"
            failed = self.state in ACTIVE and not event.lost and not made_room
            return replace(
                known,
                queued_at=event.time,
                started_at=0.0,
                ended_at=0.0,
                failures=known.failures + failed,
                losses=known.losses if event.lost or made_room else 0,
            )
        if event.state == "running":
            return replace(known, started_at=event.time)
        if event.state in ENDED:
            return replace(known, ended_at=event.time)
        return known


def state_after(events: Sequence[Event]) -> JobState:
    """Returns the state of a job after all its events, in the order of their numbers."""
    state = JobState()
    for event in events:
        state = state.after(event)
    return state
