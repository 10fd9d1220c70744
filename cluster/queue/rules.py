"""The rules of the queue, pure functions: the next transition of a job, and when it may start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cluster.queue.config import QueueConfig
from cluster.queue.events import ENDED, JobState, Transition
from cluster.queue.job import Job
from cluster.queue.messages import AttemptOutcome, Request
from cluster.queue.spec import Retries, Timeouts

TIMED_OUT = 124  # exit code, as of timeout(1)
MAX_LOSSES = 20
MAX_LOSS_BACKOFF = 60.0  # seconds, after attempts that the cluster lost
MAX_DOUBLINGS = 10  # of the backoff after failures


def after_outcome(
    retries: Retries, state: JobState, outcome: AttemptOutcome, progress: str = ""
) -> Transition:
    """Returns what follows from the end of an attempt, as it was reported by the attempt itself.

    Args:
        retries: When another attempt follows.
        state: The job's.
        outcome: What the attempt reported.
        progress: How far it came, in words.

    >>> running = JobState(state="running", attempt=1)
    >>> after_outcome(Retries(), running, AttemptOutcome(exit_code=0, time=0)).state
    'succeeded'
    """
    code, reason = outcome.exit_code, outcome.reason
    if code == 0 and not reason:
        return Transition("succeeded", exit_code=code)
    if state.state == "cancelling" or outcome.cancelled:
        return Transition("cancelled", exit_code=code, reason=state.reason or reason)
    if state.state == "preempting":
        return Transition("queued", exit_code=code, reason=state.reason)
    if outcome.lost:
        return after_loss(state, reason, progress)
    return _after_failure(retries, state, code, reason or f"exit code {code}")


def _after_failure(retries: Retries, state: JobState, code: int, reason: str) -> Transition:
    """Returns what follows from an attempt that failed: a retry after a backoff, or the end."""
    left = code not in retries.never_retry_exit_codes and state.failures < retries.max_retries
    if not left and code not in retries.always_retry_exit_codes:
        return Transition("failed", exit_code=code, reason=reason)
    backoff = retries.backoff * 2 ** min(state.failures, MAX_DOUBLINGS)
    reason = f"attempt {state.attempt}: {reason}; to be tried again in {backoff:g} s"
    return Transition("queued", exit_code=code, backoff=backoff, reason=reason)


def after_loss(
    state: JobState, reason: str = "lost by the cluster", progress: str = ""
) -> Transition:
    """Returns what follows from an attempt that ended through no fault of the job.

    Another attempt, after a backoff that doubles with each loss in a row that brought the job no
    further, up to MAX_LOSSES.
    """
    if state.state == "cancelling":
        return Transition("cancelled", reason=state.reason, lost=True)
    if state.state == "preempting":
        return Transition("queued", reason=state.reason)
    reason, losses = f"attempt {state.attempt}: {reason}", state.losses_after(progress)
    if losses >= MAX_LOSSES:
        reason = f"{reason}, the last of {losses} that came no further; see the log of each"
        return Transition("failed", reason=reason, lost=True, progress=progress)
    backoff = min(2.0 ** (losses - 1), MAX_LOSS_BACKOFF)
    reason = f"{reason}; to be tried again in {backoff:g} s"
    return Transition("queued", backoff=backoff, reason=reason, lost=True, progress=progress)


def is_overdue(job: Job, config: QueueConfig, now: float) -> bool:
    """Tells whether nothing was heard of an attempt for so long that it counts as lost."""
    limit = config.loss_timeout if job.begun else config.start_timeout
    return now - job.heard > limit


@dataclass(frozen=True)
class StopReason:
    """Why an attempt stops its command.

    Attributes:
        text: The reason in words.
        lost: Whether it is no fault of the job; default true.
        exit_code: Exit code of the attempt; None for that of the command.
        cancelled: Whether the job was cancelled before the command started; default false.
    """

    text: str
    lost: bool = True
    exit_code: int | None = None
    cancelled: bool = False


def stop_reason(
    timeouts: Timeouts, heartbeat_timeout: float, ran: float, silent: float
) -> StopReason | None:
    """Returns why an attempt has to stop its command; None while it may run.

    Args:
        timeouts: The job's.
        heartbeat_timeout: Seconds that it may be silent.
        ran: Seconds since it started the command.
        silent: Seconds since it wrote its last heartbeat.
    """
    if timeouts.running is not None and ran > timeouts.running:
        text = f"ran for longer than {timeouts.running:g} s"
        return StopReason(text, lost=False, exit_code=TIMED_OUT)
    if silent > heartbeat_timeout:
        return StopReason("could not reach the store to say that it is alive")
    return None


def after_request(request: Request, state: JobState, next_order: int) -> Transition | None:
    """Returns what a user's request leads to; None if there is nothing to be done.

    Args:
        request: A cancel or a retry.
        state: The state of the job that it is about.
        next_order: The place at the end of the line.
    """
    by = f" by {request.by}" if request.by else ""
    if request.what == "retry":
        if state.state not in ENDED:
            return None
        return Transition("queued", reason=f"to be tried again{by}", order=next_order)
    if state.state in (*ENDED, "cancelling"):
        return None
    waits = state.state in (None, "queued")
    return Transition("cancelled" if waits else "cancelling", reason=f"cancelled{by}")


def is_postponed(request: Request, state: JobState) -> bool:
    """Tells whether a request waits for a job to end: a retry of one that is being cancelled."""
    return request.what == "retry" and state.state == "cancelling"


def startable_since(job: Job, known: Mapping[str, Job]) -> float | None:
    """Returns since when a job that waits could start; None while a dependency has not succeeded.

    Args:
        job: The job.
        known: All jobs, by id.
    """
    times = [job.backoff_ends()]
    for name in job.spec.depends_on:
        before = known.get(name)
        if before is None or before.state.state != "succeeded":
            return None
        times.append(min(before.state.ended_at, before.since))
    return max(times)


def may_start(job: Job, known: Mapping[str, Job], now: float) -> bool:
    """Tells whether a job that waits could start now: dependencies have succeeded, no backoff."""
    since = startable_since(job, known)
    return since is not None and now >= since


def after_waiting(job: Job, known: Mapping[str, Job], now: float) -> Transition | None:
    """Returns the failure of a job that waits for what cannot come, or too long; None otherwise."""
    for name in job.spec.depends_on:
        before = known.get(name)
        if before is not None and before.state.state in ("failed", "cancelled"):
            reason = f"job {name}, on which it depends, {before.state.state}"
            return Transition("failed", reason=reason)
    since, limit = startable_since(job, known), job.spec.timeouts.queued
    if since is None or limit is None or now - since <= limit:
        return None
    return Transition("failed", reason=f"waited for longer than {limit:g} s")
