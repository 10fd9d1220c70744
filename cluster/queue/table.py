"""The table of all jobs that a dispatcher writes for all to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.queue.config import QueueConfig
from cluster.queue.events import ENDED
from cluster.queue.job import Job
from cluster.queue.known_jobs import DamagedJob, KnownJobs
from cluster.queue.line import Waiting
from cluster.queue.messages import JobRow, QueueTable
from cluster.queue.records import QueueRecords

TABLE_SECONDS = 5.0


def table_of(
    jobs: KnownJobs,
    line: Sequence[Waiting],
    now: float,
    dispatcher: str,
    config: QueueConfig,
    nodes: Sequence[Mapping[str, float]],
) -> QueueTable:
    """Returns the table: what runs, what waits in its order, what has ended.

    Args:
        jobs: All jobs.
        line: Those that wait, the next one first.
        now: Seconds since 1970.
        dispatcher: Name of the dispatcher that writes it.
        config: How the queue is run.
        nodes: Resources of each node that is there or may be added; empty if they are not known.
    """
    places = {each.job: number for number, each in enumerate(line, start=1)}
    rows = [row_of(job, places.get(job.id), now) for job in jobs.known.values()]
    rows += [_damaged_row(name, each) for name, each in jobs.damaged.items()]
    return QueueTable(
        time=now,
        dispatcher=dispatcher,
        limits=config.limits,
        kinds=tuple(config.commands),
        nodes=[dict(node) for node in nodes],
        rows=sorted(rows, key=_rank),
    )


class TableWriter:
    """Writes the table when something has changed, and every TABLE_SECONDS as a sign of life.

    Args:
        records: The queue's part of the store.
    """

    def __init__(self, records: QueueRecords) -> None:
        self._records = records
        self._written: object = None
        self._time = 0.0

    def write(self, table: QueueTable) -> None:
        """Writes the table, if need be."""
        shown = [row.model_dump(exclude={"waited", "ran"}) for row in table.rows]
        if shown != self._written or table.time - self._time >= TABLE_SECONDS:
            self._records.write_table(table)
            self._written, self._time = shown, table.time


def row_of(job: Job, position: int | None, now: float) -> JobRow:
    """Returns the row of a job, whose place in the line is None if it does not wait."""
    spec, state = job.spec, job.state
    end = state.ended_at or now
    return JobRow(
        job=spec.id,
        kind=spec.kind,
        pipeline=spec.pipeline or "",
        owner=spec.owner,
        priority=spec.priority,
        state=state.state or "submitted",
        position=position,
        attempt=state.attempt,
        waited=max(0.0, (state.started_at or end) - state.queued_at),
        ran=max(0.0, end - state.started_at) if state.started_at else 0.0,
        progress=job.heartbeat.progress if job.heartbeat else "",
        reason=job.trouble or state.reason,
    )


def _damaged_row(name: str, damaged: DamagedJob) -> JobRow:
    spec = damaged.job.spec if damaged.job else None
    return JobRow(
        job=name,
        kind=spec.kind if spec else "",
        pipeline=(spec.pipeline if spec else None) or "",
        owner=spec.owner if spec else "",
        priority=spec.priority if spec else 0,
        state="damaged",
        reason=f"{damaged.reason}; `flowkd queue repair {name}`, or `flowkd queue remove {name}`",
    )


def _rank(row: JobRow) -> tuple[int, int]:
    ended = row.state in (*ENDED, "damaged")
    return (2 if ended else 1 if row.position else 0, row.position or 0)
