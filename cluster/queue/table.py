"""All jobs beside each other, as the dispatcher sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.queue.admission import in_line
from cluster.queue.job import Job, as_waiting
from cluster.queue.messages import JobRow, QueueTable
from cluster.queue.ray_jobs import ClusterError

if TYPE_CHECKING:
    from cluster.queue.dispatcher import Dispatcher

SECONDS = 5.0  # between two tables when nothing but time has passed
ENDED = ("succeeded", "failed", "cancelled", "invalid")


class TableWriter:
    """Writes the table when something has changed, and now and then to show that it lives.

    Args:
        dispatcher: Whose view it is.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._written: object = None
        self._time = 0.0

    def write(self) -> None:
        """Writes the table, if need be."""
        table = self._table()
        shown = [row.model_dump(exclude={"waited", "ran"}) for row in table.rows]
        if shown != self._written or table.time - self._time >= SECONDS:
            self._dispatcher.records.write_table(table)
            self._written, self._time = shown, table.time

    def _table(self) -> QueueTable:
        dispatcher, now = self._dispatcher, self._dispatcher.now()
        waiting = in_line(as_waiting(dispatcher.jobs_in("queued")))
        places = {each.job: number for number, each in enumerate(waiting, start=1)}
        rows = [_row(job, places.get(job.id), now) for job in dispatcher.known.values()]
        rows += [
            JobRow(job=name, kind="", owner="", priority=0, state="invalid", reason=reason)
            for name, reason in dispatcher.invalid.items()
        ]
        return QueueTable(
            time=now,
            dispatcher=dispatcher.name,
            limits=dispatcher.config.limits,
            nodes=self._nodes(),
            rows=sorted(rows, key=_rank),
        )

    def _nodes(self) -> list[dict[str, float]]:
        try:
            return self._dispatcher.config.possible(self._dispatcher.cluster.nodes())
        except ClusterError:
            return []


def _row(job: Job, position: int | None, now: float) -> JobRow:
    spec, state = job.spec, job.state
    end = state.ended_at or now
    return JobRow(
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


def _rank(row: JobRow) -> tuple[int, int]:
    """What runs first, then what waits, in its order."""
    return (2 if row.state in ENDED else 1 if row.position else 0, row.position or 0)
