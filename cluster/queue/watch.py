"""What a dispatcher does about an attempt that it has started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.queue.messages import AttemptOutcome

if TYPE_CHECKING:
    from cluster.queue.dispatcher import Dispatcher
    from cluster.queue.job import Job

MOST_LOSSES = 20
LONGEST_PAUSE = 60.0  # seconds, after attempts that the cluster lost


def submit(dispatcher: Dispatcher, job: Job) -> None:
    """Hands a job's attempt to Ray; raises ClusterError when that fails."""
    dispatcher.cluster.submit(job.id, job.state.attempt)


def watch(dispatcher: Dispatcher, job: Job) -> None:
    """Sees how an attempt is, and draws the conclusion.

    Another one is only ever made after this one said that it ended, after Ray saw its process end,
    after it has been silent for so long that it has stopped itself, or after it was made sure that
    it never begins. What Ray thinks otherwise is not believed: it forgets, and errs.

    Raises:
        ClusterError: Ray cannot be asked.
    """
    records, attempt, now = dispatcher.records, job.state.attempt, dispatcher.now()
    outcome = records.outcome(job.id, attempt)
    if outcome is not None:
        _finish(dispatcher, job, outcome)
        return
    beat = records.heartbeat(job.id, attempt)
    if beat != job.heartbeat:
        job.heartbeat, job.heard = beat, now
        if job.state.state == "starting":
            dispatcher.move(job, "running")
    if not job.begun and (beat is not None or records.has_begun(job.id, attempt)):
        job.begun, job.heard = True, now
    if not job.begun:
        _watch_unbegun(dispatcher, job)
    elif now - job.heard > dispatcher.config.patience:
        _lose(dispatcher, job)
    else:
        _watch_begun(dispatcher, job)


def _watch_unbegun(dispatcher: Dispatcher, job: Job) -> None:
    """Hands it to Ray, again if need be, or makes sure that it never begins."""
    attempt, cancelled = job.state.attempt, job.state.state == "cancelling"
    late = dispatcher.now() - job.heard > dispatcher.config.starting
    known = None if cancelled or late else dispatcher.cluster.look(job.id, attempt)
    if known == "alive":
        return
    if known == "unknown":
        submit(dispatcher, job)
    elif dispatcher.records.begin(job.id, attempt):
        _lose(dispatcher, job)
        if known is None:  # to tidy up: it would end by itself at once
            dispatcher.cluster.stop(job.id, attempt)


def _watch_begun(dispatcher: Dispatcher, job: Job) -> None:
    attempt = job.state.attempt
    known = dispatcher.cluster.look(job.id, attempt)
    if known == "exited":
        _lose(dispatcher, job)
    elif job.state.state == "cancelling" and known == "alive":
        dispatcher.cluster.stop(job.id, attempt)
    elif job.state.state == "cancelling":
        dispatcher.records.ask_to_stop(job.id, attempt)


def _finish(dispatcher: Dispatcher, job: Job, outcome: AttemptOutcome) -> None:
    """Draws the conclusion from how an attempt ended."""
    code, reason = outcome.exit_code, outcome.reason
    if code == 0 and not reason:
        dispatcher.move(job, "succeeded", exit_code=code)
    elif job.state.state == "cancelling":
        dispatcher.move(job, "cancelled", exit_code=code, reason=job.state.reason)
    elif outcome.lost:
        _lose_for(dispatcher, job, reason)
    else:
        _fail(dispatcher, job, code, reason or f"exit code {code}")


def _fail(dispatcher: Dispatcher, job: Job, code: int, reason: str) -> None:
    retries, attempt = job.spec.retries, job.state.attempt
    again = code in retries.always or (
        code not in retries.never and job.state.failures < retries.times
    )
    if not again:
        dispatcher.move(job, "failed", exit_code=code, reason=reason)
        return
    pause = retries.pause * 2 ** min(job.state.failures, 10)
    reason = f"attempt {attempt}: {reason}; to be tried again in {pause:g} s"
    dispatcher.move(job, "queued", exit_code=code, pause=pause, reason=reason)


def _lose(dispatcher: Dispatcher, job: Job) -> None:
    # It may have ended by itself since it was last looked for.
    outcome = dispatcher.records.outcome(job.id, job.state.attempt)
    if outcome is not None:
        _finish(dispatcher, job, outcome)
    elif job.state.state == "cancelling":
        dispatcher.move(job, "cancelled", reason=job.state.reason, lost=True)
    else:
        _lose_for(dispatcher, job, "lost by the cluster")


def _lose_for(dispatcher: Dispatcher, job: Job, reason: str) -> None:
    reason = f"attempt {job.state.attempt}: {reason}"
    losses = job.state.losses + 1
    if losses >= MOST_LOSSES:
        reason = f"{reason}, the last of {losses} in a row; see the log of each"
        dispatcher.move(job, "failed", reason=reason, lost=True)
        return
    pause = min(2.0 ** (losses - 1), LONGEST_PAUSE)
    reason = f"{reason}; to be tried again in {pause:g} s"
    dispatcher.move(job, "queued", pause=pause, reason=reason, lost=True)
