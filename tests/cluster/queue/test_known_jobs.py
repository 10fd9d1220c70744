"""One job's damaged record is that job's alone: it is set aside, and all others go on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from cluster.queue.records import QueueRecords
from flowkd.store.store import Store
from tests.cluster.queue.test_dispatcher import Queue

SPEC = ("queue", "bad", "spec.json")
FIRST = ("queue", "bad", "events", "00000001.json")
OUTCOME = ("queue", "bad", "attempts", "1", "outcome.json")
BEAT = ("queue", "bad", "attempts", "1", "heartbeat.json")
DAMAGE: dict[str, tuple[tuple[str, ...], bytes]] = {
    "half an outcome": (OUTCOME, b'{"exit_code": 0, "rea'),
    "a foreign outcome": (OUTCOME, b'{"status": "ok"}'),
    "an empty outcome": (OUTCOME, b""),
    "no text": (OUTCOME, b"\xff\xfe\x00"),
    "lists in lists": (OUTCOME, b"[" * 100_000),
    "an outcome that is a folder": ((*OUTCOME, "x"), b"{}"),
    "half a heartbeat": (BEAT, b'{"beats"'),
    "a heartbeat of text": (BEAT, b'{"beats": "many", "time": 0}'),
    "half an event": (FIRST, b"{"),
    "an event of another number": (FIRST, b'{"number": 7, "state": "queued", "time": 0}'),
    "an event with another name": (
        (*FIRST[:-1], "odd.json"), b'{"number": 1, "state": "queued", "time": 0}'
    ),
    "an event of a state that is none": (FIRST, b'{"number": 1, "state": "lost", "time": 0}'),
    "half a spec": (SPEC, b"{"),
    "the spec of another job": (
        SPEC,
        json.dumps(
            {"spec": {"id": "x", "kind": "c"}, "submitted": 0, "nonce": ""}
        ).encode(),
    ),
}  # fmt: skip
REPAIRED = [name for name, (path, _) in DAMAGE.items() if path != SPEC]


@pytest.fixture
def queue(local_store: Store) -> Queue:
    """A queue in which `bad` runs, with room for another job beside it."""
    queue = Queue(local_store, cpus=2)
    queue.submit("bad")
    queue.tick()
    return queue


def damage(queue: Queue, what: str) -> None:
    path, data = DAMAGE[what]
    if path[:-1] == OUTCOME:
        queue.records.store.remove(*OUTCOME)
    queue.records.store.write(data, *path)
    queue.cluster.steps["bad", 1] = 2  # it says nothing more


def rows(queue: Queue) -> dict[str, Any]:
    table = queue.records.table()
    assert table is not None
    return {row.job: row for row in table.rows}


def restarted(queue: Queue) -> Queue:
    again = Queue(queue.records.store, cpus=2)
    again.cluster, again.now = queue.cluster, queue.now
    again.dispatcher.cluster = queue.cluster
    return again


@pytest.mark.parametrize("restart", [False, True], ids=["in mid run", "after a restart"])
@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_record_stops_one_job_alone(queue: Queue, what: str, restart: bool) -> None:
    damage(queue, what)
    if restart:
        queue = restarted(queue)
    queue.submit("good")
    queue.tick(4)
    assert queue.states("good") == ["succeeded"]
    if restart or ("event" not in what and "spec" not in what):  # which are read only once
        row = rows(queue)["bad"]
        assert row.state == "damaged"
        assert "/".join(DAMAGE[what][0][:2]) in row.reason
        assert "flowkd queue repair bad" in row.reason


@pytest.mark.parametrize("what", REPAIRED)
def test_a_repaired_job_goes_on_and_nothing_runs_twice_at_once(queue: Queue, what: str) -> None:
    damage(queue, what)
    queue = restarted(queue)
    queue.tick(2)
    queue.cluster.steps["bad", 1] = -1 if "outcome" in what or "text" in what else 1
    queue.records.ask("bad", "repair")
    queue.now += 60
    queue.tick(8)
    queue.now += 60
    queue.tick(8)
    assert queue.states("bad") == ["succeeded"]
    assert queue.records.store.list("queue-damaged")


def test_what_nobody_can_repair_is_removed_and_what_waits_for_it_fails(queue: Queue) -> None:
    queue.submit("waits", depends_on=["bad"])
    queue.tick()
    damage(queue, "half a spec")
    queue = restarted(queue)
    queue.tick(2)
    assert rows(queue)["waits"].state == "queued"
    queue.records.ask("bad", "remove")
    queue.tick(3)
    assert queue.records.jobs() == ["waits"]
    assert queue.records.state("waits").reason == "job bad, on which it depends, was removed"


def test_a_job_that_runs_is_not_removed_and_one_that_has_ended_is(queue: Queue) -> None:
    queue.records.ask("bad", "remove")
    queue.dispatcher.tick()
    assert queue.states("bad") == ["running"]
    queue.tick(3)
    queue.records.ask("bad", "remove")
    queue.tick()
    assert queue.records.jobs() == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("odd.json", b"{"),
        ("odd.json", b'{"job": "bad", "what": "dance", "time": 0, "nonce": "n"}'),
        ("../odd.json", b"{}"),
        ("st*r.json", b"{}"),
        ("named.json", b'{"job": "bad", "what": "repair", "time": 0, "nonce": "../spec"}'),
        ("gone.json", b'{"job": "gone", "what": "cancel", "time": 0, "nonce": "n"}'),
    ],
)
def test_a_request_that_is_none_stops_nobody(
    queue: Queue, tmp_path: Any, name: str, data: bytes
) -> None:
    inbox = f"{queue.records.store.path()}/queue-inbox"
    queue.records.store.fs.makedirs(inbox, exist_ok=True)
    queue.records.store.fs.pipe_file(f"{inbox}/{name}", data)
    queue.submit("good")
    queue.records.ask("good", "cancel")
    queue.tick(4)
    assert queue.states("good", "bad") == ["cancelled", "succeeded"]
    left = set(queue.records.store.list("queue-inbox"))
    assert left <= {"st*r.json"}


@pytest.mark.parametrize("name", ["st*r", "odd name", "[x]", "-"])
def test_a_folder_that_is_no_job_stops_nobody(queue: Queue, name: str) -> None:
    path = f"{queue.records.store.path()}/queue/{name}/spec.json"
    queue.records.store.fs.makedirs(path.rpartition("/")[0])
    queue.records.store.fs.pipe_file(path, b"{}")
    queue.submit("good")
    queue.tick(4)
    assert queue.states("good", "bad") == ["succeeded", "succeeded"]
    assert rows(queue)[name].state == "damaged"


def test_keys_of_a_newer_version_are_kept_and_no_fault(queue: Queue) -> None:
    store: Store = queue.records.store
    for path in (SPEC, FIRST, BEAT):
        values = {**store.read_json(*path), "of_tomorrow": 1}
        if path == SPEC:
            values["spec"]["of_tomorrow"] = {"x": 1}
            values["spec"]["resources"]["of_tomorrow"] = 2
        store.write_json(values, *path)
    queue = restarted(queue)
    queue.tick(4)
    assert queue.states("bad") == ["succeeded"]
    assert store.read_json(*SPEC)["spec"]["of_tomorrow"] == {"x": 1}


def test_a_store_that_is_away_is_no_fault_of_a_job(queue: Queue) -> None:
    class Away(QueueRecords):
        def jobs(self) -> list[str]:
            raise OSError("away")

    queue.dispatcher.jobs.records = Away(queue.records.store)
    with pytest.raises(OSError, match="away"):
        queue.tick()
    assert queue.dispatcher.jobs.damaged == {}


def test_a_job_whose_spec_comes_a_moment_after_its_folder_keeps_its_place(queue: Queue) -> None:
    Path(queue.records.store.path("queue", "early")).mkdir()
    queue.tick()
    queue.submit("early")
    queue.submit("late")
    queue.tick(10)
    assert [job for job in queue.cluster.ran if job != "bad"] == ["early", "late"]


def test_a_folder_that_stays_empty_is_looked_at_ever_more_rarely(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(queue.records.store.path("queue", "empty")).mkdir()
    looks = []
    spec = QueueRecords.spec
    monkeypatch.setattr(
        QueueRecords, "spec", lambda self, job: (looks.append((job, queue.now)), spec(self, job))[1]
    )
    for _ in range(100):
        queue.now += 0.5
        queue.tick()
    times = [time for job, time in looks if job == "empty"]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert gaps[0] == 0.5
    assert gaps[-1] == 10
    assert gaps == sorted(gaps)


def test_a_job_that_comes_long_after_an_empty_folder_of_its_name_went_keeps_its_place(
    queue: Queue,
) -> None:
    folder = Path(queue.records.store.path("queue", "back"))
    folder.mkdir()
    for _ in range(100):
        queue.now += 0.5
        queue.tick()
    folder.rmdir()
    queue.tick()
    folder.mkdir()
    queue.tick()
    queue.submit("back")
    queue.submit("late")
    queue.tick(10)
    assert [job for job in queue.cluster.ran if job != "bad"] == ["back", "late"]
