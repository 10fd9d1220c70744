"""Looks at an attempt in the store and on the cluster, and returns the transition that follows."""

from __future__ import annotations

from contextlib import suppress

from cluster.queue.cluster import Cluster, ClusterError
from cluster.queue.config import QueueConfig
from cluster.queue.events import STOPPING, Transition
from cluster.queue.job import Job
from cluster.queue.records import QueueRecords
from cluster.queue.rules import after_loss, after_outcome, is_overdue


def watch(
    job: Job, records: QueueRecords, cluster: Cluster, config: QueueConfig, now: float
) -> Transition | None:
    """Looks at a job's attempt once and returns what follows; None for nothing.

    Another attempt follows only once this one said that it ended, the cluster saw its process end,
    it was silent for so long that it has stopped itself, or it was made sure that it never begins.
    What the cluster thinks otherwise is not believed: it forgets, and errs.

    Args:
        job: What is known of it; what is heard is noted here.
        records: The queue's part of the store; written are claims and requests to stop alone.
        cluster: Runs the attempt.
        config: Says when an attempt is overdue.
        now: Seconds since 1970.

    Raises:
        ClusterError: The cluster cannot be asked.
    """
    attempt = job.state.attempt
    outcome = records.outcome(job.id, attempt)
    if outcome is not None:
        job.hear(records.heartbeat(job.id, attempt), now)
        return after_outcome(job.spec.retries, job.state, outcome, job.progress)
    job.hear(records.heartbeat(job.id, attempt), now)
    if job.state.state == "starting" and job.heartbeat is not None:
        return Transition("running")
    if not job.begun and records.has_begun(job.id, attempt):
        job.begun, job.heard = True, now
    overdue = is_overdue(job, config, now)
    look = _look_at_begun if job.begun else _look_at_unbegun
    return look(job, records, cluster, overdue)


def _look_at_unbegun(
    job: Job, records: QueueRecords, cluster: Cluster, overdue: bool
) -> Transition | None:
    """Submits the attempt, again if need be, or makes sure that it never begins."""
    attempt = job.state.attempt
    given_up = overdue or job.state.state in STOPPING
    status = None if given_up else cluster.status(job.id, attempt)
    if status == "alive":
        return None
    if status == "unknown":
        cluster.submit(job.id, attempt, job.spec.kind)
        return None
    if not records.begin(job.id, attempt):
        return None  # it has begun in the meantime
    if given_up:  # to tidy up: without its claim it would end by itself at once
        with suppress(ClusterError):
            cluster.stop(job.id, attempt)
    return _after_loss(job, records)


def _look_at_begun(
    job: Job, records: QueueRecords, cluster: Cluster, overdue: bool
) -> Transition | None:
    """Waits for the attempt to end, and stops it if its job is cancelled."""
    attempt = job.state.attempt
    status = None if overdue else cluster.status(job.id, attempt)
    if overdue:
        # Should it only stand still, it ends as soon as it wakes; what is frozen neither ends nor
        # speaks, and holds what its actors hold.
        records.ask_to_stop(job.id, attempt)
        with suppress(ClusterError):
            cluster.stop(job.id, attempt)
    if overdue or status == "exited":
        return _after_loss(job, records)
    if job.state.state in STOPPING and status == "alive":
        cluster.stop(job.id, attempt)
    elif job.state.state in STOPPING:
        records.ask_to_stop(job.id, attempt)
    return None


def _after_loss(job: Job, records: QueueRecords) -> Transition:
    # It may have ended by itself since it was last looked for.
    outcome = records.outcome(job.id, job.state.attempt)
    if outcome is not None:
        return after_outcome(job.spec.retries, job.state, outcome, job.progress)
    return after_loss(job.state, progress=job.progress)
