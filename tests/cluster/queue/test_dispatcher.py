"""A dispatcher runs jobs in order, after their dependencies, within limits, as users ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.queue.config import QueueConfig
from cluster.queue.dispatcher import Dispatcher
from cluster.queue.free import FreeResources
from cluster.queue.messages import AttemptOutcome
from cluster.queue.records import QueueRecords
from cluster.queue.spec import JobSpec
from flowkd.store.store import Store
from tests.support.small_cluster import COMMANDS, SmallCluster


class Queue:
    """A dispatcher on a small cluster, and the time that it believes in."""

    def __init__(self, store: Store, cpus: float = 1, **config: object) -> None:
        self.records = QueueRecords(store)
        self.cluster = SmallCluster(self.records, cpus)
        self.now = 1000.0
        settings = QueueConfig.model_validate(
            {"resource_settle_period": 0, "commands": dict(COMMANDS), **config}
        )
        self.dispatcher = Dispatcher(self.records, self.cluster, settings, clock=lambda: self.now)

    def submit(self, name: str, ahead: float = 0, **changes: object) -> None:
        """Submits a job a second after the last one, by a clock that may be ahead."""
        self.now += 1
        values = {"id": name, "kind": "c", **changes}
        records = QueueRecords(self.records.store, clock=lambda: self.now + ahead)
        records.accept(JobSpec.model_validate(values))

    def tick(self, count: int = 1) -> None:
        """Lets the dispatcher look, and the cluster go on by a step."""
        for _ in range(count):
            self.dispatcher.tick()
            self.cluster.step()

    def end(self, job: str, code: int) -> None:
        """Ends a job's last attempt."""
        attempt = self.records.state(job).attempt
        self.cluster.end(job, attempt, AttemptOutcome(exit_code=code, time=0))

    def states(self, *jobs: str) -> list[str | None]:
        return [self.records.state(job).state for job in jobs or self.records.jobs()]


@pytest.fixture
def queue(memory_store: Store) -> Queue:
    return Queue(memory_store)


def test_jobs_run_by_priority_then_as_they_came(queue: Queue) -> None:
    for name, priority in (("c", 0), ("a", 0), ("low", -1), ("b", 0), ("high", 2)):
        queue.submit(name, priority=priority)
    queue.tick(20)
    assert queue.cluster.ran == ["high", "c", "a", "b", "low"]


def test_who_came_later_by_the_dispatchers_view_runs_later(queue: Queue) -> None:
    queue.submit("runs")
    queue.tick()
    queue.submit("z")
    queue.tick()
    queue.submit("a", ahead=-100)
    queue.tick(20)
    assert queue.cluster.ran == ["runs", "z", "a"]


def test_a_retry_goes_to_the_end_of_the_line_and_an_attempt_that_failed_does_not(
    queue: Queue,
) -> None:
    queue.submit("first", retries={"max_retries": 1, "backoff": 0})
    queue.submit("second")
    queue.tick()
    queue.end("first", 1)
    queue.tick()
    assert queue.states("first", "second") == ["starting", "queued"]
    queue.end("first", 1)
    queue.tick()
    assert queue.states("first", "second") == ["failed", "starting"]
    queue.submit("third")
    queue.tick()
    queue.records.ask("first", "retry")
    queue.tick(20)
    assert queue.cluster.ran[-3:] == ["second", "third", "first"]


def test_a_job_starts_after_its_dependencies(memory_store: Store) -> None:
    queue = Queue(memory_store, cpus=10)
    queue.submit("data")
    queue.submit("teacher", depends_on=["data"])
    queue.submit("student", depends_on=["data", "teacher"])
    queue.tick()
    assert queue.states("data", "teacher", "student") == ["starting", "queued", "queued"]
    queue.tick(20)
    assert queue.states() == ["succeeded"] * 3
    assert queue.cluster.ran == ["data", "teacher", "student"]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_what_depends_on_a_job_that_fails_fails_with_it(memory_store: Store, how: str) -> None:
    queue = Queue(memory_store, cpus=10)
    queue.submit("data", retries={"max_retries": 0})
    queue.submit("teacher", depends_on=["data"])
    queue.submit("student", depends_on=["teacher"])
    queue.submit("other")
    queue.tick()
    if how == "failed":
        queue.end("data", 1)
    else:
        queue.records.ask("data", "cancel")
    queue.tick(20)
    assert queue.states("data", "teacher", "student", "other") == [
        how,
        "failed",
        "failed",
        "succeeded",
    ]
    assert queue.records.state("student").reason == "job teacher, on which it depends, failed"
    assert set(queue.cluster.ran) <= {"data", "other"}


def test_a_job_that_failed_starts_again_once_its_backoff_is_over(queue: Queue) -> None:
    queue.submit("job", retries={"max_retries": 1, "backoff": 30})
    queue.tick()
    queue.end("job", 1)
    queue.tick()
    queue.now += 29
    queue.tick()
    assert queue.states() == ["queued"]
    queue.now += 1
    queue.tick()
    assert (queue.states(), queue.records.state("job").attempt) == (["starting"], 2)


def test_a_job_that_waits_too_long_fails_and_one_that_runs_does_not(queue: Queue) -> None:
    queue.submit("runs", timeouts={"queued": 10})
    queue.submit("waits", timeouts={"queued": 10})
    queue.tick()
    queue.now += 11
    queue.tick()
    assert queue.states("runs", "waits") == ["running", "failed"]
    assert queue.records.state("waits").reason == "waited for longer than 10 s"


def test_a_job_that_waits_is_cancelled_at_once_and_one_that_runs_is_stopped(queue: Queue) -> None:
    queue.submit("runs")
    queue.submit("waits")
    queue.tick()
    queue.dispatcher.tick()
    assert queue.states("runs", "waits") == ["running", "queued"]
    for name in ("runs", "waits"):
        queue.records.ask(name, "cancel", by="ann")
    queue.dispatcher.tick()
    assert queue.states("runs", "waits") == ["cancelling", "cancelled"]
    queue.dispatcher.tick()
    assert queue.states("runs", "waits") == ["cancelled", "cancelled"]
    assert queue.records.state("runs").reason == "cancelled by ann"
    assert queue.cluster.ran == ["runs"]
    assert queue.records.inbox() == ({}, {})


def test_no_more_jobs_run_than_the_limits_allow(memory_store: Store) -> None:
    limits = {"max_running": 3, "max_running_per_owner": 2}
    queue = Queue(memory_store, cpus=100, limits=limits)
    for number, owner in enumerate("aaaabb"):
        queue.submit(f"{owner}{number}", owner=owner)
    queue.tick()
    assert sorted(queue.cluster.submitted) == [("a0", 1), ("a1", 1), ("b4", 1)]


def test_what_ray_may_not_have_counted_yet_is_not_given_away_twice(memory_store: Store) -> None:
    queue = Queue(memory_store, cpus=2, resource_settle_period=60)
    queue.cluster.available = lambda: FreeResources(
        [{"CPU": 1.0}]
    )  # the other one is not the queue's
    queue.submit("first")
    queue.submit("second")
    queue.tick()
    queue.dispatcher.tick()
    assert queue.states("first", "second") == ["running", "queued"]
    queue.now += 60
    queue.dispatcher.tick()
    assert queue.states("first", "second") == ["running", "starting"]


def test_a_job_of_a_higher_priority_takes_the_place_of_one_that_yields_which_then_goes_on(
    queue: Queue,
) -> None:
    queue.submit("yields", preemptible=True)
    queue.tick()
    queue.dispatcher.tick()
    assert queue.states("yields") == ["running"]
    queue.submit("equal")
    queue.dispatcher.tick()
    assert queue.states("yields") == ["running"]
    queue.submit("urgent", priority=1)
    queue.dispatcher.tick()
    assert queue.states("yields") == ["preempting"]
    queue.tick(2)
    assert queue.records.state("yields").reason == "made room for urgent"
    queue.tick(20)
    assert queue.cluster.ran == ["yields", "urgent", "yields", "equal"]
    assert queue.states() == ["succeeded"] * 3
    state = queue.records.state("yields")
    assert (state.failures, state.losses, state.attempt) == (0, 0, 2)


def test_one_that_made_room_and_is_cancelled_meanwhile_ends_as_cancelled(queue: Queue) -> None:
    queue.submit("yields", preemptible=True)
    queue.tick()
    queue.submit("urgent", priority=1)
    queue.dispatcher.tick()
    queue.records.ask("yields", "cancel")
    queue.tick(20)
    assert queue.states("urgent", "yields") == ["succeeded", "cancelled"]


def test_who_yields_passes_one_that_waits_for_all_and_makes_room_for_it(
    memory_store: Store,
) -> None:
    queue = Queue(memory_store, cpus=2)
    queue.submit("runs")
    queue.tick()
    queue.submit("whole", resources={"cpus": 2})
    queue.submit("stays")
    queue.submit("yields", preemptible=True)
    queue.dispatcher.tick()
    assert queue.states("whole", "stays", "yields") == ["queued", "queued", "starting"]
    queue.cluster.end("runs", 1, AttemptOutcome(exit_code=0, time=0))
    queue.dispatcher.tick()
    assert queue.states("whole", "yields") == ["queued", "preempting"]
    queue.tick(20)
    assert queue.states() == ["succeeded"] * 4
    assert queue.cluster.ran.index("whole") < queue.cluster.ran.index("stays")


def test_owners_take_turns(queue: Queue) -> None:
    for number in range(3):
        queue.submit(f"a{number}", owner="ann")
    queue.submit("b", owner="bob")
    for _ in range(20):
        queue.now += 5
        queue.tick()
    assert queue.cluster.ran == ["a0", "b", "a1", "a2"]


@pytest.mark.parametrize("kind", ["bake", "command", "os.system"])
def test_only_kinds_that_the_queues_own_config_names_are_run(
    memory_store: Store, kind: str
) -> None:
    queue = Queue(memory_store, cpus=10)
    queue.submit("odd", kind=kind)
    queue.submit("good")
    # A record may name a program: nothing reads that.
    path = ("queue", "odd", "spec.json")
    record = memory_store.read_json(*path)
    record["spec"]["command"] = ["touch", "here"]
    memory_store.write_json(record, *path)
    queue.tick(5)
    assert queue.states("odd", "good") == ["failed", "succeeded"]
    assert queue.records.state("odd").reason == (
        f"the queue runs no jobs of kind {kind!r}; expected one of c"
    )
    assert "odd" not in queue.cluster.ran
    queue.dispatcher.config = queue.dispatcher.config.model_copy(
        update={"commands": {kind: ("true",)}}
    )
    queue.records.ask("odd", "retry")
    queue.tick(5)
    assert queue.states("odd") == ["succeeded"]


def test_a_kind_that_is_no_name_sets_its_job_aside(memory_store: Store) -> None:
    queue = Queue(memory_store)
    queue.submit("odd")
    path = ("queue", "odd", "spec.json")
    record = memory_store.read_json(*path)
    record["spec"]["kind"] = "c; touch here"
    memory_store.write_json(record, *path)
    queue.tick(5)
    assert "odd" in queue.dispatcher.jobs.damaged
    assert queue.cluster.ran == []


ODD = ["*", "a?", "[a]", "two words", "a\nb", "--force", "good*"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("what", ["spec.json", "attempts"])
def test_a_folder_of_any_name_can_be_removed_and_nothing_else_is(
    tmp_path: Path, name: str, what: str
) -> None:
    queue = Queue(Store(str(tmp_path)), cpus=10)
    queue.submit("good")
    (tmp_path / "queue" / name).mkdir(parents=True)
    (tmp_path / "queue" / name / what).write_text("{}")
    queue.tick(3)
    queue.records.ask(name, "remove")
    queue.tick(2)
    assert queue.records.jobs() == ["good"]
    assert queue.records.inbox() == ({}, {})
    assert queue.states("good") == ["succeeded"]
