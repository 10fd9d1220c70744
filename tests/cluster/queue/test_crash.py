"""A dispatcher may stop for ever between any two calls; the next one goes on as if it had not.

The records are real. A small cluster in memory stands for Ray, and its attempts for processes.
"""

from __future__ import annotations

import time

import pytest

from cluster.queue.cluster import ClusterError
from cluster.queue.config import QueueConfig
from cluster.queue.dispatcher import Dispatcher
from cluster.queue.messages import Heartbeat
from cluster.queue.records import QueueRecords
from cluster.queue.spec import JobSpec
from flowkd.store.store import Store
from tests.support.small_cluster import COMMANDS, SmallCluster

CONFIG = QueueConfig(resource_settle_period=0, commands=dict(COMMANDS))


class Stop(BaseException):
    """The dispatcher is no more."""


class Calls:
    """Counts calls and stops the caller before or after one of them."""

    def __init__(self, last: int, after: bool) -> None:
        self.count, self.last, self.after = 0, last, after

    def around(self, call):
        def counted(*args: object) -> object:
            self.count += 1
            if self.count == self.last and not self.after:
                raise Stop
            result = call(*args)
            if self.count == self.last:
                raise Stop
            return result

        return counted


class Stopping:
    """Passes calls on to an object until its time has come."""

    def __init__(self, target: object, calls: Calls) -> None:
        self._target, self._calls = target, calls

    def __getattr__(self, name: str) -> object:
        found = getattr(self._target, name)
        return self._calls.around(found) if callable(found) else found


def fill(records: QueueRecords) -> None:
    """Submits jobs of each kind and asks for a cancel and, later on, a retry."""
    specs = [
        {"id": "first"},
        {"id": "fails", "retries": {"backoff": 0}},
        {"id": "large", "resources": {"cpus": 2}},
        {"id": "urgent", "priority": 1},
        {"id": "after", "depends_on": ["large"]},
        {"id": "unwanted"},
    ]
    for each in specs:
        records.accept(JobSpec.model_validate({"kind": "c", **each}))
    records.ask("unwanted", "cancel")


def play(store: Store, last: int, *, after: bool) -> tuple[int, SmallCluster, QueueRecords]:
    records = QueueRecords(store)
    fill(records)
    cluster = SmallCluster(records, cpus=2)
    calls = Calls(last, after)
    dispatcher = Dispatcher(Stopping(records, calls), Stopping(cluster, calls), CONFIG)
    for _ in range(60):
        try:
            dispatcher.tick()
        except Stop:
            dispatcher = Dispatcher(records, cluster, CONFIG)
        cluster.step()
        if all(records.state(job).state in ("succeeded", "cancelled") for job in records.jobs()):
            break
    return calls.count, cluster, records


def judge(cluster: SmallCluster, records: QueueRecords, where: str) -> None:
    states = {job: records.state(job).state for job in records.jobs()}
    expected = dict.fromkeys(states, "succeeded") | {"unwanted": "cancelled"}
    assert states == expected, where
    # None is run again that need not be, none is lost, and the order is kept.
    runs = ["urgent", "first", "fails", "fails", "large", "after"]
    assert sorted(cluster.ran) == sorted(runs), where
    assert set(cluster.ran[:2]) == {"urgent", "first"}, where
    assert cluster.ran.index("large") < cluster.ran.index("after"), where
    assert max(cluster.submitted.values()) == 1, where
    assert records.inbox() == ({}, {}), where
    for job in states:
        assert [e.number for e in records.events(job)] == list(
            range(1, records.state(job).events + 1)
        )


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_dispatcher_stops_at_each_of_its_calls(after: bool) -> None:
    total, cluster, records = play(Store(f"memory://undisturbed-{after}"), 0, after=after)
    judge(cluster, records, "undisturbed")
    assert total > 100
    for last in range(1, total + 1):
        store = Store(f"memory://crash-{after}-{last}")
        _, cluster, records = play(store, last, after=after)
        judge(cluster, records, f"stopped at call {last}")
        store.remove()


def test_two_dispatchers_start_nothing_twice(memory_store: Store) -> None:
    records = QueueRecords(memory_store)
    fill(records)
    cluster = SmallCluster(records, cpus=2)
    two = [Dispatcher(records, cluster, CONFIG) for _ in range(2)]
    for tick in range(60):
        for each in two if tick % 2 else reversed(two):
            each.tick()
        cluster.step()
    judge(cluster, records, "two dispatchers")


def test_a_job_that_ray_refuses_and_one_that_is_no_job_hold_up_nobody(
    memory_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    records = QueueRecords(memory_store)
    fill(records)
    memory_store.write(b'{"spec": 1}', "queue", "broken", "spec.json")
    cluster = SmallCluster(records, cpus=2)
    submit = cluster.submit

    def refuse(job: str, attempt: int, kind: str) -> None:
        if job == "urgent":
            raise ClusterError("no")
        submit(job, attempt)

    cluster.submit = refuse
    dispatcher = Dispatcher(records, cluster, CONFIG)
    for _ in range(20):
        dispatcher.tick()
        cluster.step()
    assert records.state("first").state == "succeeded"
    assert records.state("urgent").state == "starting"
    table = records.table()
    assert table is not None
    assert [row.state for row in table.rows if row.job == "broken"] == ["damaged"]
    assert [row.reason for row in table.rows if row.job == "urgent"] == ["no; trying again"]
    cluster.submit = submit
    dispatcher.tick()
    table = records.table()
    assert table is not None
    assert [row.reason for row in table.rows if row.job == "urgent"] == [""]
    assert "job broken is set aside" in capsys.readouterr().out


def test_an_attempt_that_may_live_is_waited_for(memory_store: Store) -> None:
    records = QueueRecords(memory_store)
    records.accept(JobSpec(id="job", kind="c"))
    cluster = SmallCluster(records, cpus=1)
    dispatcher = Dispatcher(records, cluster, CONFIG)
    dispatcher.tick()
    cluster.step()
    dispatcher.tick()
    assert records.state("job").state == "running"
    cluster.steps.clear()  # Ray has forgotten it
    start, passed = time.time(), 0.0
    # And so has the dispatcher.
    later = Dispatcher(records, cluster, CONFIG, clock=lambda: start + passed)
    later.tick()
    passed = CONFIG.loss_timeout - 1
    later.tick()
    assert records.state("job").attempt == 1
    records.beat("job", 1, Heartbeat(beats=9, time=0))  # it lives after all
    later.tick()
    passed += CONFIG.loss_timeout - 1
    later.tick()
    assert records.state("job").state == "running"
    passed += 2
    later.tick()
    assert records.state("job").state == "queued"
    passed += 2
    later.tick()
    assert (records.state("job").state, records.state("job").attempt) == ("starting", 2)
    assert records.state("job").failures == 0


def one_that_runs(store: Store) -> tuple[QueueRecords, SmallCluster, Dispatcher]:
    """Returns a queue with one job, `job`, that has just been handed over."""
    records = QueueRecords(store)
    records.accept(JobSpec(id="job", kind="c"))
    cluster = SmallCluster(records, cpus=1)
    dispatcher = Dispatcher(records, cluster, CONFIG)
    dispatcher.tick()
    assert records.state("job").state == "starting"
    return records, cluster, dispatcher


def test_a_dispatcher_that_knows_less_than_another_does_nothing(memory_store: Store) -> None:
    records = QueueRecords(memory_store)
    records.accept(JobSpec(id="job", kind="c"))
    cluster = SmallCluster(records, cpus=0)
    ahead, behind = (Dispatcher(records, cluster, CONFIG) for _ in range(2))
    for each in (ahead, behind):
        each.tick()
    records.ask("job", "cancel")
    ahead.tick()
    cluster.cpus = 1
    behind.tick()
    assert records.state("job").state == behind.jobs.known["job"].state.state == "cancelled"
    assert not cluster.submitted


def test_who_cancels_and_then_retries_gets_another_attempt(memory_store: Store) -> None:
    records, cluster, dispatcher = one_that_runs(memory_store)
    cluster.step()
    dispatcher.tick()
    records.ask("job", "cancel")
    dispatcher.tick()
    records.ask("job", "retry")  # while it is being cancelled
    for _ in range(6):
        dispatcher.tick()
        cluster.step()
    assert (records.state("job").state, records.state("job").attempt) == ("succeeded", 2)
    assert records.inbox() == ({}, {})
