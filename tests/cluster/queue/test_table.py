"""The table shows what runs, what waits in its order, and what has ended; it is written at need."""

from __future__ import annotations

from cluster.queue.admission import QueueLimits
from cluster.queue.config import QueueConfig
from cluster.queue.events import JobState
from cluster.queue.job import Job, as_waiting
from cluster.queue.known_jobs import DamagedJob, KnownJobs
from cluster.queue.line import in_line
from cluster.queue.messages import Heartbeat, QueueTable
from cluster.queue.records import QueueRecords
from cluster.queue.spec import JobSpec
from cluster.queue.table import TABLE_SECONDS, TableWriter, table_of
from flowkd.store.store import Store

NOW = 1000.0
CONFIG = QueueConfig(limits=QueueLimits(max_running=3), commands={"c": ("true",)})
NODES = [{"CPU": 4.0}]


def job(name: str, priority: int = 0, **state: object) -> Job:
    spec = JobSpec(id=name, kind="c", priority=priority)
    return Job(spec, 0.0, JobState(events=1, queued_at=900, **state), NOW)


def table(*jobs: Job, now: float = NOW, **damaged: str) -> QueueTable:
    known = KnownJobs(QueueRecords(Store("memory://table")), lambda: now)
    known.known.update((job.id, job) for job in jobs)
    known.damaged.update((name, DamagedJob(why, None, now)) for name, why in damaged.items())
    line = in_line(as_waiting(known.in_state("queued")))
    return table_of(known, line, now, "me", CONFIG, NODES)


def test_what_runs_comes_first_then_what_waits_in_line_then_what_has_ended() -> None:
    found = table(
        job("done", state="succeeded", order=1, started_at=910, ended_at=950),
        job("late", state="queued", order=4),
        job("early", state="queued", order=2),
        job("runs", state="running", order=3, started_at=960, attempt=2),
        job("urgent", 1, state="queued", order=5),
        job("new", order=0),
        broken="cannot be read",
    )
    rows = {row.job: row for row in found.rows}
    places = [row.position for row in found.rows]
    assert [row.job for row in found.rows if row.position] == ["urgent", "early", "late"]
    assert places == [None, None, 1, 2, 3, None, None]
    assert {row.job for row in found.rows[-2:]} == {"done", "broken"}
    assert (rows["runs"].waited, rows["runs"].ran, rows["runs"].attempt) == (60, 40, 2)
    assert (rows["done"].waited, rows["done"].ran) == (10, 40)
    assert (rows["late"].waited, rows["late"].ran) == (100, 0)
    assert rows["broken"].state == "damaged"
    assert rows["broken"].reason.startswith("cannot be read; `flowkd queue repair broken`")
    assert rows["new"].state == "submitted"
    assert (found.dispatcher, found.limits.max_running, found.nodes) == ("me", 3, NODES)


def test_a_table_is_written_when_something_has_changed_or_some_time_has_passed(
    memory_store: Store,
) -> None:
    records = QueueRecords(memory_store)
    writer, runs = TableWriter(records), job("runs", state="running", started_at=960)

    def written(now: float) -> bool:
        writer.write(table(runs, now=now))
        found = records.table()
        assert found is not None
        return found.time == now

    assert written(NOW)
    assert not written(NOW + 1)
    runs.hear(Heartbeat(beats=1, time=0, progress="3 of 9"), NOW + 2)
    assert written(NOW + 2)
    assert not written(NOW + 1 + TABLE_SECONDS)
    assert written(NOW + 2 + TABLE_SECONDS)
