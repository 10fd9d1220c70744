"""A look at an attempt finds its end, its loss or its silence, and hands on what a user asked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cluster.queue.cluster import AttemptStatus, ClusterError
from cluster.queue.config import QueueConfig
from cluster.queue.events import JobState, JobStatus, Transition
from cluster.queue.job import Job
from cluster.queue.messages import AttemptOutcome, Heartbeat
from cluster.queue.records import QueueRecords
from cluster.queue.spec import JobSpec
from cluster.queue.watch import watch
from flowkd.store.store import Store
from tests.support.small_cluster import SmallCluster

CONFIG = QueueConfig()
START = 1000.0
LATE = START + 1000


class Watched:
    """An attempt and the little that is needed to look at it."""

    def __init__(self, store: Store) -> None:
        self.records = QueueRecords(store)
        self.cluster = SmallCluster(self.records, cpus=1)
        spec = JobSpec(id="job", kind="c")
        self.records.accept(spec)
        self.job = Job(spec, START, JobState(events=2, state="starting", attempt=1), START)

    def look(self, now: float = START) -> Transition | None:
        return watch(self.job, self.records, self.cluster, CONFIG, now)

    def run(self, state: JobStatus = "running") -> None:
        """Lets the attempt begin, and the dispatcher know it."""
        self.cluster.submit("job", 1)
        self.cluster.step()
        assert self.look() == Transition("running")
        self.job.learn(replace(self.job.state, state=state, reason="by me"), START)

    def end(self, code: int, attempt: int = 1) -> None:
        self.records.end("job", attempt, AttemptOutcome(exit_code=code, time=0))


@pytest.fixture
def watched(memory_store: Store) -> Watched:
    return Watched(memory_store)


def state_of(found: Transition | None) -> str | None:
    return found and found.state


def test_an_attempt_that_ray_does_not_know_is_submitted_and_then_waited_for(
    watched: Watched,
) -> None:
    for _ in range(3):
        assert watched.look() is None
    assert watched.cluster.submitted == {("job", 1): 1}


def test_an_attempt_that_ended_before_it_was_looked_at_has_ended(watched: Watched) -> None:
    watched.cluster.submit("job", 1)
    watched.end(0)
    assert state_of(watched.look()) == "succeeded"


def test_an_attempt_whose_process_ended_without_a_word_is_lost(watched: Watched) -> None:
    watched.run()
    assert watched.look() is None
    watched.cluster.steps["job", 1] = -1
    found = watched.look()
    assert found is not None
    assert (found.state, found.lost) == ("queued", True)


def test_an_outcome_that_comes_late_counts_more_than_the_loss(watched: Watched) -> None:
    watched.run()
    status = watched.cluster.status

    def end_first(job: str, attempt: int) -> AttemptStatus:
        watched.end(3)
        watched.cluster.steps["job", 1] = -1
        return status(job, attempt)

    watched.cluster.status = end_first  # between two readings of the outcome
    found = watched.look()
    assert found is not None
    assert (found.exit_code, found.lost) == (3, False)


def test_an_outcome_of_an_earlier_attempt_counts_no_more(watched: Watched) -> None:
    watched.run()
    watched.job.learn(replace(watched.job.state, state="starting", attempt=2), START)
    watched.end(0, attempt=1)
    assert watched.look() is None
    assert watched.cluster.submitted == {("job", 1): 1, ("job", 2): 1}


def test_what_ray_forgot_or_gave_up_is_lost_only_after_its_silence(watched: Watched) -> None:
    watched.run()
    watched.cluster.stop = lambda job, attempt: None  # it stands still
    for status in ("unknown", "unreachable"):
        watched.cluster.status = lambda job, attempt, status=status: status
        assert watched.look(START + CONFIG.loss_timeout) is None
        assert not watched.records.must_stop("job", 1)
        found = watched.look(START + CONFIG.loss_timeout + 1)
        assert found is not None
        assert found.lost
        assert watched.records.must_stop("job", 1)  # should it wake
        watched.records.store.remove("queue", "job", "attempts", "1", "stop.json")
    watched.records.beat("job", 1, Heartbeat(beats=9, time=0))
    assert watched.look(START + CONFIG.loss_timeout + 1) is None


def test_an_attempt_that_does_not_begin_in_time_can_never_begin(watched: Watched) -> None:
    watched.cluster.submit("job", 1)
    assert watched.look(START + CONFIG.start_timeout) is None
    assert state_of(watched.look(LATE)) == "queued"
    watched.cluster.steps["job", 1] = 0  # its process comes up late
    watched.cluster.step()
    assert watched.cluster.ran == []


@pytest.mark.parametrize("status", ["exited", "unreachable"])
def test_an_attempt_that_begins_as_it_is_given_up_goes_on(
    watched: Watched, status: AttemptStatus
) -> None:
    def begin_first(job: str, attempt: int) -> AttemptStatus:
        watched.records.begin(job, attempt)
        return status

    watched.cluster.status = begin_first
    assert watched.look() is None


def test_a_cluster_that_cannot_stop_what_never_begins_changes_nothing(watched: Watched) -> None:
    watched.cluster.submit("job", 1)

    def refuse(job: str, attempt: int) -> None:
        raise ClusterError("away")

    watched.cluster.stop = refuse
    assert state_of(watched.look(LATE)) == "queued"


def test_a_cancelled_attempt_is_stopped_and_its_job_cancelled(watched: Watched) -> None:
    watched.run("cancelling")
    assert watched.look() is None
    found = watched.look()
    assert found is not None
    assert (found.state, found.reason) == ("cancelled", "by me")
    assert not watched.records.must_stop("job", 1)


def test_a_cancelled_attempt_out_of_rays_reach_is_asked_through_the_store(
    watched: Watched,
) -> None:
    watched.run("cancelling")
    watched.cluster.status = lambda job, attempt: "unreachable"
    assert watched.look() is None
    assert watched.records.must_stop("job", 1)


def test_a_job_that_is_cancelled_before_its_attempt_begins_is_cancelled_at_once(
    watched: Watched,
) -> None:
    watched.cluster.submit("job", 1)
    watched.job.learn(replace(watched.job.state, state="cancelling", reason="by me"), START)
    assert state_of(watched.look()) == "cancelled"
    watched.cluster.steps["job", 1] = 0
    watched.cluster.step()
    assert watched.cluster.ran == []
