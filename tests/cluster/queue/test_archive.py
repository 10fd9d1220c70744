"""Jobs that have ended move to the archive: there each is found, and none is lost or doubled."""

from __future__ import annotations

from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from cluster.queue import archive, archive_index
from cluster.queue.archive import Archive
from cluster.queue.archive_index import ArchiveIndex
from cluster.queue.line import used_by
from cluster.queue.records import QueueError
from cluster.queue.spec import JobSpec
from cluster.queue.submission import submit
from flowkd.store.store import Store
from tests.cluster.queue.test_dispatcher import Queue
from tests.support.counting import CALLS, counted_calls
from tests.support.crashes import Crash, crash_at

ALL = [f"job{number}" for number in range(6)]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "BATCH", 2)
    monkeypatch.setattr("cluster.queue.housekeeping.BATCH", 2)


def filled(store: Store, count: int = 6, **config: object) -> Queue:
    queue = Queue(store, cpus=6, **{"keep_ended": 1, **config})
    for name in ALL[:count]:
        queue.submit(name)
    return queue


def archived(queue: Queue) -> list[str]:
    assert queue.records.ended is not None
    return queue.records.ended.jobs()


def ran(queue: Queue, ticks: int = 8) -> Queue:
    queue.tick(ticks)
    assert len(queue.records.jobs()) == 2
    return queue


def rows(queue: Queue) -> list[str]:
    return [row.job for row in ArchiveIndex(queue.records.store).rows()]


@pytest.mark.parametrize(("kind", "count"), [("local", 6), ("moto", 4)])
def test_the_queue_keeps_the_last_and_the_archive_tells_of_all_others(
    kind: str, count: int, request: pytest.FixtureRequest
) -> None:
    queue = ran(filled(request.getfixturevalue(f"{kind}_store"), count), ticks=count)
    names = ALL[:count]
    assert rows(queue) == archived(queue) == names[:-2]
    table = queue.records.table()
    assert table is not None
    assert [row.job for row in table.rows] == queue.records.jobs() == names[-2:]
    for name in names:
        there = queue.records.where(name)
        assert (there.spec(name).spec.id, there.state(name).state) == (name, "succeeded")
        assert there.outcome(name, 1) is not None


OF_OBJECTS = {"kind": MemoryFileSystem, "calls": ("cp_file", "pipe_file", "rm_file", "_rm")}


@pytest.mark.parametrize("counted", [{}, OF_OBJECTS], ids=["calls", "objects"])
def test_a_dispatcher_that_stops_anywhere_in_a_move_loses_and_doubles_nothing(
    monkeypatch: pytest.MonkeyPatch, counted: dict[str, Any]
) -> None:
    for after in (False,) if counted else (False, True):
        for number in range(1, 500):
            store = Store(f"memory://archive-{after}-{number}-{len(counted)}")
            queue = filled(store, 4, keep_ended=100)
            queue.tick(4)
            queue.dispatcher.config = queue.dispatcher.config.model_copy(update={"keep_ended": 1})
            queue.dispatcher._house._config = queue.dispatcher.config
            with monkeypatch.context() as patch:
                crash_at(patch, number, after=after, **counted)
                try:
                    queue.dispatcher.tick()
                    cut = False
                except Crash:
                    cut = True
            whole(queue)
            again = Queue(store, cpus=6, keep_ended=1)
            again.cluster, again.dispatcher.cluster = queue.cluster, queue.cluster
            again.tick(4)
            whole(again)
            assert len(again.records.jobs()) in (1, 2), (after, number)
            assert set(rows(again)) == set(archived(again)), (after, number)
            assert not set(again.records.jobs()) & set(archived(again)), (after, number)
            store.remove()
            if not cut:
                break
        assert 10 < number < 499


def whole(queue: Queue) -> None:
    """Every job is found with its only attempt, in one place and whole."""
    for name in ALL[:4]:
        there = queue.records.where(name)
        assert there.state(name).state == "succeeded"
        assert [event.number for event in there.events(name)] == [1, 2, 3, 4]
        assert there.outcome(name, 1) is not None
    assert sorted(queue.cluster.ran) == ALL[:4]


def test_a_job_is_never_accepted_twice_whether_it_moved_before_or_meanwhile(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = ran(filled(memory_store))
    spec = JobSpec(id="job0", kind="c")
    assert not submit(queue.records, spec)
    assert not queue.records.accept(spec)
    with pytest.raises(QueueError, match="with another kind"):
        submit(queue.records, JobSpec(id="job0", kind="other"))
    create = Store.create

    def moves_before(self: Store, data: bytes, *parts: str) -> bool:
        if parts[-2:] == ("job5", "spec.json"):
            [job] = [queue.dispatcher.jobs.known["job5"]]
            Archive(queue.records).keep([job])
            del queue.dispatcher.jobs.known["job5"]
        return create(self, data, *parts)

    monkeypatch.setattr(Store, "create", moves_before)
    assert not queue.records.accept(JobSpec(id="job5", kind="c"))
    monkeypatch.setattr(Store, "create", create)
    queue.tick(5)
    assert "job5" not in queue.records.jobs()
    assert queue.cluster.ran.count("job5") == 1


def test_a_late_attempt_of_an_archived_job_does_not_begin(memory_store: Store) -> None:
    queue = ran(filled(memory_store))
    queue.cluster.steps["job0", 1] = 0  # the cluster starts it once more
    queue.tick()
    assert queue.cluster.ran.count("job0") == 1
    queue.now += 60
    queue.tick(2)
    assert "job0" not in queue.records.jobs()  # what it left is tidied up


def test_an_archived_job_is_tried_again_and_archived_again(memory_store: Store) -> None:
    queue = ran(filled(memory_store))
    queue.records.ask("job0", "retry")
    queue.tick()
    assert queue.records.state("job0").state in ("queued", "starting")
    queue.tick(6)
    assert queue.cluster.ran.count("job0") == 2
    queue.submit("more")
    queue.submit("most")
    queue.tick(6)
    assert queue.records.where("job0").state("job0").attempt == 2
    assert "job0" in {*rows(queue), *queue.records.jobs()}
    assert len(rows(queue)) == len(set(rows(queue)))


def test_a_retry_that_was_cut_off_at_any_call_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 200):
        store = Store(f"memory://restore-{number}")
        queue = ran(filled(store))
        queue.records.ask("job0", "retry")
        with monkeypatch.context() as patch:
            crash_at(patch, number, after=bool(number % 2))
            try:
                queue.dispatcher.tick()
                cut = False
            except Crash:
                cut = True
        again = Queue(store, cpus=6, keep_ended=1)
        again.cluster, again.dispatcher.cluster = queue.cluster, queue.cluster
        again.tick(8)
        assert again.records.where("job0").state("job0").attempt == 2, number
        assert again.cluster.ran.count("job0") == 2, number
        store.remove()
        if not cut:
            break
    assert 10 < number < 199


def test_what_waits_for_an_archived_job_starts_and_what_is_removed_fails_it(
    memory_store: Store,
) -> None:
    queue = ran(filled(memory_store))
    queue.submit("after", depends_on=["job0"])
    queue.tick(4)
    assert queue.states("after") == ["succeeded"]
    queue.submit("huge", depends_on=["job1"], resources={"cpus": 7})
    again = Queue(memory_store, cpus=6, keep_ended=1)  # another dispatcher knows of it as well
    again.tick()
    assert again.states("huge") == ["queued"]
    again.records.ask("job1", "remove")
    again.tick(2)
    assert again.records.state("huge").reason == "job job1, on which it depends, was removed"
    assert "job1" not in {*archived(again), *rows(again)}


def test_old_jobs_go_for_good_if_asked(memory_store: Store) -> None:
    queue = ran(filled(memory_store, archive_days=2.0))
    queue.now += 86_400
    queue.tick()
    assert len(archived(queue)) == 4
    for _ in range(3):
        queue.now += 86_400
        queue.tick()
    assert archived(queue) == rows(queue) == []
    assert len(queue.records.jobs()) == 2


def test_a_job_that_cannot_be_moved_stays_and_is_seen(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = Store.copy

    def refuse(self: Store, source: str, target: str) -> None:
        if source.endswith("job0"):
            raise FileNotFoundError(source)
        copy(self, source, target)

    def refused(self: Store, source: str, target: str) -> None:
        try:
            refuse(self, source, target)
        except FileNotFoundError as error:
            raise archive.StoreError("no") from error

    monkeypatch.setattr(Store, "copy", refused)
    queue = filled(memory_store)
    queue.tick(8)
    assert queue.records.jobs() == ["job0", "job4", "job5"]
    assert archived(queue) == ["job1", "job2", "job3"]
    assert "job job0 stays in the queue: no" in capsys.readouterr().out


def test_damaged_lines_of_the_index_hide_their_jobs_alone(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_index, "MERGE", 2)
    queue = ran(filled(memory_store))
    index = ArchiveIndex(memory_store)
    [name] = memory_store.list("queue-ended", "index")  # two moves, merged
    assert name.startswith("1-")
    data = memory_store.read("queue-ended", "index", name)
    memory_store.write(data.replace(b'"job0"', b'"jobX"', 1), "queue-ended", "index", name)
    assert {row.job for row in index.rows()} == {"job1", "job2", "job3"}
    assert index.damaged == {f"queue-ended/index/{name}"}
    assert queue.records.where("job0").state("job0").state == "succeeded"


def test_what_archived_jobs_used_counts_for_their_owners(memory_store: Store) -> None:
    queue = Queue(memory_store, cpus=6, keep_ended=0)
    for name in ALL:
        queue.submit(name, owner="ann" if name < "job2" else "ben")
    queue.tick(2)
    queue.now += 100
    queue.tick(6)
    assert queue.dispatcher.jobs.known == {}
    again = Queue(memory_store, cpus=6, keep_ended=0)
    again.now = queue.now
    again.dispatcher.tick()
    for each in (queue, again):
        used = used_by(each.dispatcher._house.used, {"CPU": 6}, each.now, 86_400)
        assert used["ben"] == pytest.approx(2 * used["ann"], rel=1e-3)
        assert used["ann"] == pytest.approx(2 * 100 / 6, rel=0.05)


def test_a_tick_without_news_costs_the_same_however_many_jobs_have_ended(
    memory_store: Store,
) -> None:
    costs, sizes = [], []
    for count in (10, 40):
        store = Store(f"{memory_store.uri}-{count}")
        queue = Queue(store, cpus=6, keep_ended=4)
        for number in range(count):
            finished(queue, f"j{number:04}")
        queue.tick(count // 2 + 3)
        assert len(archived(queue)) == count - 4 - count % 2
        with counted_calls() as calls:
            queue.dispatcher.tick()
        costs.append(calls)
        sizes.append((len(queue.dispatcher.jobs.known), len(store.read("queue.json"))))
        store.remove()
    assert costs[0] == costs[1]
    assert sum(costs[0][name] for name in CALLS) <= 3
    assert sizes[0] == sizes[1]


def finished(queue: Queue, name: str) -> None:
    """Writes a job that was cancelled before it ran."""
    queue.submit(name)
    queue.records.ask(name, "cancel")
