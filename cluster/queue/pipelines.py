"""A pipeline as one thing: its jobs, what a request to it asks of each, and whose log it shows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cluster.queue.events import ACTIVE, ENDED, Event, JobState, state_after
from cluster.queue.messages import Accepted
from cluster.queue.record_files import RecordError
from cluster.queue.records import QueueError, QueueRecords
from cluster.queue.spec import JobSpec


@dataclass(frozen=True)
class StageJob:
    """A job of a pipeline.

    Attributes:
        accepted: Its spec, and when it was submitted.
        events: All that has happened to it.
    """

    accepted: Accepted
    events: list[Event]

    @property
    def job(self) -> str:
        """Its id."""
        return self.accepted.spec.id

    @property
    def state(self) -> JobState:
        """Its state after all events."""
        return state_after(self.events)


def is_pipeline(records: QueueRecords, name: str) -> bool:
    """Tells whether a job of the queue belongs to a pipeline of this name."""
    return any(_belongs(records, job, name) for job in records.jobs())


def pipeline_jobs(records: QueueRecords, name: str) -> list[StageJob]:
    """Returns the jobs of a pipeline in the order in which they were submitted; none if none is.

    Those in the archive are among them.

    Raises:
        RecordError: A record of one cannot be read.
    """
    there = {job: records for job in records.jobs() if _belongs(records, job, name)}
    if records.ended is not None:
        for job in records.ended.jobs():
            if job not in there and _belongs(records.ended, job, name):
                there[job] = records.ended
    found = [StageJob(home.spec(job), home.events(job)) for job, home in there.items()]
    return sorted(found, key=lambda each: (each.accepted.submitted, each.job))


def check_names(records: QueueRecords, specs: Sequence[JobSpec]) -> None:
    """Raises QueueError where a job would be called as a pipeline is, or a pipeline as a job."""
    ids = {spec.id for spec in specs}
    for spec in specs:
        if spec.pipeline and (spec.pipeline in ids or records.exists(spec.pipeline)):
            raise QueueError(
                f"pipeline {spec.pipeline!r}: there is a job of this name in the queue: give the "
                f"pipeline's file another `name`"
            )
        if is_pipeline(records, spec.id):
            raise QueueError(
                f"job {spec.id!r}: there is a pipeline of this name in the queue: submit under "
                f"another --id"
            )


def state_of(jobs: Collection[StageJob]) -> str:
    """Returns a pipeline's state: `running`, `queued`, `failed`, `cancelled` or `succeeded`."""
    states = {each.state.state for each in jobs}
    if not states.isdisjoint(ACTIVE):
        return "running"
    if not states <= set(ENDED):
        return "queued"
    return next(state for state in ("failed", "cancelled", "succeeded") if state in states)


def to_cancel(name: str, jobs: Sequence[StageJob]) -> list[str]:
    """Returns the jobs to cancel, in this order: the last first, so that none fails for another.

    Raises:
        QueueError: All have ended.
    """
    found = [each.job for each in reversed(jobs) if each.state.state not in ENDED]
    if not found:
        raise QueueError(
            f"cannot cancel pipeline {name!r}: expected one that waits or runs; it is "
            f"{state_of(jobs)}"
        )
    return found


def to_retry(name: str, jobs: Sequence[StageJob]) -> list[str]:
    """Returns the jobs to try again, in this order: those that failed or were cancelled.

    Raises:
        QueueError: There are none, or one is being cancelled, which those after it would fail for.
    """
    leaving = [each.job for each in jobs if each.state.state == "cancelling"]
    if leaving:
        raise QueueError(
            f"cannot retry pipeline {name!r}: {leaving[0]} is being cancelled: try again once it "
            f"has ended"
        )
    found = [each.job for each in jobs if each.state.state in ("failed", "cancelled")]
    if not found:
        raise QueueError(
            f"cannot retry pipeline {name!r}: expected one with a stage that failed or was "
            f"cancelled; it is {state_of(jobs)}"
        )
    return found


def job_to_read(name: str, jobs: Sequence[StageJob]) -> str:
    """Returns the job whose log tells most: the one that runs, that failed, or that ran last.

    Raises:
        QueueError: None has run.
    """
    begun = [each for each in jobs if each.state.attempt]
    for states in (ACTIVE, ("failed",), ("cancelled",)):
        for each in begun:
            if each.state.state in states:
                return each.job
    if not begun:
        raise QueueError(f"pipeline {name!r}: none of its jobs has run yet")
    return max(begun, key=lambda each: each.state.started_at).job


def _belongs(records: QueueRecords, job: str, name: str) -> bool:
    if not job.startswith(f"{name}."):
        return False
    try:
        return records.spec(job).spec.pipeline == name
    except (RecordError, QueueError):  # nobody can tell; `flowkd queue` shows it
        return False
