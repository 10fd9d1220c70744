"""All jobs beside each other, as the dispatcher sees them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from cluster.queue.admission import Waiting, in_line
from cluster.queue.records import Row, Table

if TYPE_CHECKING:
    from cluster.queue.dispatcher import Job


def make_table(dispatcher: str, jobs: Iterable[Job]) -> Table:
    """Returns the table: what runs, what waits in its order, what has ended, the latest first."""
    known = list(jobs)
    now = time.time()
    waiting = in_line(
        Waiting(j.spec.id, j.spec.owner, j.spec.priority, j.state.order, j.spec.resources)
        for j in known
        if j.state.state == "queued"
    )
    places = {each.job: number for number, each in enumerate(waiting, start=1)}
    rows = [_row(job, places.get(job.spec.id), now) for job in known]
    return Table(time=now, dispatcher=dispatcher, rows=sorted(rows, key=_rank))


def _row(job: Job, position: int | None, now: float) -> Row:
    spec, state = job.spec, job.state
    end = state.ended_at or now
    return Row(
        job=spec.id,
        kind=spec.kind,
        owner=spec.owner,
        priority=spec.priority,
        state=state.state or "submitted",
        position=position,
        attempt=state.attempt,
        waited=max(0.0, (state.started_at or end) - state.queued_at),
        ran=max(0.0, end - state.started_at) if state.started_at else 0.0,
        progress=job.heartbeat.progress if job.heartbeat else "",
        reason=state.reason,
    )


def _rank(row: Row) -> tuple[int, int]:
    ended = row.state in ("succeeded", "failed", "cancelled")
    return (2 if ended else 1 if row.position else 0, row.position or 0)
