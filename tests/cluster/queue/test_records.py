"""The store holds each job once, and each of its events once, whoever writes them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.queue.events import Event
from cluster.queue.job_log import LogUpload, read_job_log
from cluster.queue.messages import AttemptOutcome, Heartbeat, QueueTable
from cluster.queue.records import QueueError, QueueRecords
from cluster.queue.spec import JobSpec
from cluster.queue.submission import submit, submit_all
from flowkd.errors import ConfigError
from flowkd.store.store import Store

MANY = 8


@pytest.fixture(params=["memory_store", "local_store", "moto_store"])
def records(request: pytest.FixtureRequest) -> QueueRecords:
    return QueueRecords(request.getfixturevalue(request.param))


def spec(name: str = "job", **changes: object) -> JobSpec:
    return JobSpec.model_validate({"id": name, "kind": "command", **changes})


def test_a_job_submitted_twice_is_one_job(records: QueueRecords) -> None:
    assert records.accept(spec())
    assert not records.accept(spec())
    assert records.jobs() == ["job"]
    assert records.spec("job").spec == spec()


def test_of_many_who_submit_one_job_one_is_told_it_is_new(records: QueueRecords) -> None:
    with ThreadPoolExecutor(MANY) as threads:
        assert sum(threads.map(lambda _: records.accept(spec()), range(MANY))) == 1


def test_another_job_of_the_same_id_is_refused_with_what_differs(records: QueueRecords) -> None:
    records.accept(spec())
    with pytest.raises(QueueError, match="another config, priority: submit under another --id"):
        records.accept(spec(priority=3, config={"a": 1}))
    assert records.spec("job").spec == spec()


def test_one_of_many_writes_an_event_and_one_begins_an_attempt(records: QueueRecords) -> None:
    records.accept(spec())
    with ThreadPoolExecutor(MANY) as threads:
        event = Event(number=1, state="queued", time=0)
        named = [event.model_copy(update={"reason": str(n)}) for n in range(MANY)]
        won = list(threads.map(lambda each: records.append("job", each), named))
        assert sum(won) == 1
        assert records.events("job") == [named[won.index(True)]]
        assert sum(threads.map(lambda _: records.begin("job", 1), range(MANY))) == 1


def test_what_is_written_is_read_back_and_missing_until_then(records: QueueRecords) -> None:
    records.accept(spec())
    assert records.heartbeat("job", 1) is None
    assert records.outcome("job", 1) is None
    assert records.table() is None
    assert not records.has_begun("job", 1)
    assert not records.must_stop("job", 1)
    beat, outcome = Heartbeat(beats=1, time=2), AttemptOutcome(exit_code=3, time=4)
    records.beat("job", 1, beat)
    records.end("job", 1, outcome)
    records.ask_to_stop("job", 1)
    records.write_table(QueueTable(time=1, dispatcher="d"))
    assert records.heartbeat("job", 1) == beat
    assert records.outcome("job", 1) == outcome
    assert records.must_stop("job", 1)
    assert records.table() == QueueTable(time=1, dispatcher="d")


def test_requests_are_there_until_they_are_answered(records: QueueRecords) -> None:
    with pytest.raises(QueueError, match="no job 'job'"):
        records.ask("job", "cancel")
    records.accept(spec())
    records.ask("job", "cancel", by="me")
    assert records.cancelled("job")
    [(name, request)] = records.inbox()[0].items()
    assert (request.job, request.what, request.by) == ("job", "cancel", "me")
    records.answered(name)
    assert records.inbox() == ({}, {})
    assert not records.cancelled("job")


def test_what_nobody_can_read_is_named(records: QueueRecords) -> None:
    records.store.write(b"{", "queue", "odd", "spec.json")
    with pytest.raises(ConfigError, match=r"queue/odd/spec\.json"):
        records.spec("odd")
    records.store.write(b"{}", "queue-inbox", "odd.json")
    requests, faults = records.inbox()
    assert requests == {}
    assert "queue-inbox/odd.json" in faults["odd.json"]


def test_a_log_is_kept_whole(records: QueueRecords, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    lines = b"".join(b"line %d\n" % n for n in range(60_000))
    with path.open("wb") as file, LogUpload(records.store, "job", 1, path):
        file.write(lines)
    assert b"".join(read_job_log(records.store, "job", 1)) == lines
    assert b"".join(read_job_log(records.store, "job", 1, start=300_000)) == lines[300_000:]
    assert len(records.store.list("queue", "job", "attempts", "1", "log")) > 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depends_on": ["nobody"]}, "depends on 'nobody', which is not in the queue"),
        ({"resources": {"gpus": 1}}, "the cluster's nodes have"),
        ({"resources": {"cpus": 8}}, r"ask for less .*, or add nodes"),
        ({}, "2 jobs wait, and the queue takes 2"),
    ],
)
def test_what_could_never_run_is_refused(
    memory_store: Store, changes: dict[str, object], message: str
) -> None:
    records = QueueRecords(memory_store)
    table = {"time": 0, "dispatcher": "d", "limits": {"max_queued": 2}, "nodes": [{"CPU": 4}]}
    records.write_table(QueueTable.model_validate(table))
    assert submit(records, spec("first"))
    assert submit(records, spec("second"))
    assert not submit(records, spec("first"))  # it is in already
    with pytest.raises(QueueError, match=message):
        submit(records, spec("third", **changes))
    assert records.jobs() == ["first", "second"]


def test_jobs_that_wait_for_each_other_are_refused_and_none_is_accepted(
    memory_store: Store,
) -> None:
    records = QueueRecords(memory_store)
    circle = [spec("a", depends_on=["c"]), spec("b", depends_on=["a"]), spec("c", depends_on=["b"])]
    with pytest.raises(QueueError, match=r"for ever: (\w -> ){3}\w: take one"):
        submit_all(records, circle)
    assert records.jobs() == []


def test_a_job_cannot_wait_for_itself() -> None:
    with pytest.raises(ValueError, match="depends on itself"):
        spec(depends_on=["job"])
