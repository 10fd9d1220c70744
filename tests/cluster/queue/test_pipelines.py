"""A pipeline is cancelled whole, and goes on from the stage that failed."""

from __future__ import annotations

import pytest

from cluster.queue.pipelines import job_to_read, pipeline_jobs, state_of, to_cancel, to_retry
from cluster.queue.records import QueueError, QueueRecords
from flowkd.store.store import Store
from tests.cluster.queue.test_dispatcher import Queue

STAGES = {"data": [], "teacher": ["data"], "student": ["teacher"], "report": ["teacher"]}


@pytest.fixture
def queue(memory_store: Store) -> Queue:
    """A queue with a pipeline, `p`, and a job that only sounds like one of it."""
    queue = Queue(memory_store, cpus=10)
    for name, before in STAGES.items():
        after = [f"p.{each}" for each in before]
        once = {"max_retries": 0}
        queue.submit(f"p.{name}", pipeline="p", depends_on=after, retries=once)
    queue.submit("p.s")
    return queue


def states(records: QueueRecords) -> list[str | None]:
    return [each.state.state for each in pipeline_jobs(records, "p")]


def retry(queue: Queue) -> None:
    for job in to_retry("p", pipeline_jobs(queue.records, "p")):
        queue.records.ask(job, "retry")


def test_its_jobs_come_in_the_order_of_its_file(queue: Queue) -> None:
    jobs = pipeline_jobs(queue.records, "p")
    assert [each.job for each in jobs] == [f"p.{name}" for name in STAGES]
    assert state_of(jobs) == "queued"


def test_a_retry_goes_on_from_the_stage_that_failed(queue: Queue) -> None:
    queue.tick(3)
    assert states(queue.records)[:2] == ["succeeded", "starting"]
    assert job_to_read("p", pipeline_jobs(queue.records, "p")) == "p.teacher"
    queue.end("p.teacher", 1)
    queue.tick(2)
    assert states(queue.records) == ["succeeded", "failed", "failed", "failed"]
    assert job_to_read("p", pipeline_jobs(queue.records, "p")) == "p.teacher"
    before = len(queue.records.events("p.data"))
    retry(queue)
    queue.tick(12)
    assert states(queue.records) == ["succeeded"] * 4
    assert len(queue.records.events("p.data")) == before
    with pytest.raises(QueueError, match="expected one with a stage that failed or was cancelled"):
        retry(queue)
    with pytest.raises(QueueError, match="expected one that waits or runs; it is succeeded"):
        to_cancel("p", pipeline_jobs(queue.records, "p"))


def test_a_cancel_ends_all_that_have_not_ended_as_cancelled(queue: Queue) -> None:
    queue.tick(3)
    for job in to_cancel("p", pipeline_jobs(queue.records, "p")):
        queue.dispatcher.tick()  # which may look between any two of them
        queue.records.ask(job, "cancel")
    queue.dispatcher.tick()
    with pytest.raises(QueueError, match=r"p\.teacher is being cancelled: try again once"):
        retry(queue)
    queue.tick(5)
    assert states(queue.records) == ["succeeded", "cancelled", "cancelled", "cancelled"]
    assert queue.states("p.s") == ["succeeded"]
    retry(queue)
    queue.tick(12)
    assert states(queue.records) == ["succeeded"] * 4
