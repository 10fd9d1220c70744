"""The queue's commands find jobs that have moved to the archive."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from cluster.queue.archive import Archive
from cluster.queue.events import Event
from cluster.queue.job_log import log_folder
from cluster.queue.known_jobs import KnownJobs
from cluster.queue.messages import AttemptOutcome
from cluster.queue.records import QueueRecords
from cluster.queue.spec import JobSpec
from flowkd.store.store import Store
from jobs.cli.main import app

JOBS = ("old", "line.data", "line.publish", "new")


@pytest.fixture
def records(local_store: Store) -> QueueRecords:
    """A queue with `new` and a stage of pipeline `line`, the other stage and `old` archived."""
    records = QueueRecords(local_store)
    for time, job in enumerate(JOBS, start=1):
        pipeline = job.partition(".")[0] if "." in job else None
        records.accept(JobSpec(id=job, kind="c", owner="ann", pipeline=pipeline))
        states = ("queued", "starting", "running", "failed" if job == "line.data" else "succeeded")
        for number, state in enumerate(states, start=1):
            records.append(job, Event(number=number, state=state, time=time + number, attempt=1))
        records.end(job, 1, AttemptOutcome(exit_code=0, time=time))
        local_store.write(f"of {job}\n".encode(), *log_folder(job, 1), "00000000.txt")
    known = KnownJobs(records, lambda: 100.0)
    jobs = {job.id: job for job in known.take_in()}
    Archive(records).keep([jobs["old"], jobs["line.data"]])
    assert records.jobs() == ["line.publish", "new"]
    return records


def call(store: Store, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*arguments, "--store", store.uri])
    assert result.exit_code == code, result.output
    return result.output


def test_all_are_listed_if_asked(local_store: Store, records: QueueRecords) -> None:
    few = json.loads(call(local_store, "queue", "--json"))
    assert [row["job"] for row in few] == ["line.publish", "new"]
    rows = {row["job"]: row for row in json.loads(call(local_store, "queue", "--all", "--json"))}
    assert sorted(rows) == sorted(JOBS)
    assert (rows["old"]["state"], rows["line.data"]["state"]) == ("succeeded", "failed")
    assert (rows["old"]["owner"], rows["old"]["ran"]) == ("ann", 1.0)
    said = call(local_store, "queue", "--once", "--all")
    assert all(job in said for job in JOBS)


def test_one_is_shown_with_its_log(local_store: Store, records: QueueRecords) -> None:
    shown = json.loads(call(local_store, "show", "old", "--json"))
    assert (shown["state"], len(shown["events"])) == ("succeeded", 4)
    assert call(local_store, "logs", "old") == "of old\n"
    assert call(local_store, "logs", "old", "--follow") == "of old\n"


def test_a_pipeline_has_its_archived_stages(local_store: Store, records: QueueRecords) -> None:
    shown = json.loads(call(local_store, "show", "line", "--json"))
    assert [each["job"] for each in shown["stages"]] == ["line.data", "line.publish"]
    assert "of line.data" in call(local_store, "logs", "line")
    call(local_store, "retry", "line")
    assert [each.job for each in records.inbox()[0].values()] == ["line.data"]


def test_what_has_ended_is_asked_for_as_ever(local_store: Store, records: QueueRecords) -> None:
    assert "it is succeeded" in call(local_store, "cancel", "old", code=1).replace("\n", " ")
    call(local_store, "retry", "old")
    call(local_store, "queue", "remove", "old")
    assert sorted(each.what for each in records.inbox()[0].values()) == ["remove", "retry"]
    assert "no job 'none'" in call(local_store, "show", "none", code=1)
