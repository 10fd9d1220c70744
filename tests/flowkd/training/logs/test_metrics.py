"""A run's log costs what its records hold, loses none, and never shows two of one step."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flowkd.errors import StoreError
from flowkd.store import append_log
from flowkd.store.store import Store
from flowkd.training.logs import metrics
from flowkd.training.logs.follow import LogFollower
from flowkd.training.logs.metrics import RunLog, last_record, read_log
from tests.support.servers.faults import FaultProxy


class CountingStore(Store):
    """Counts what is written to it, and may die of any operation that changes something."""

    written = 0
    changes = 0
    dies_at: int | None = None

    def _count(self) -> None:
        if self.changes == self.dies_at:
            raise KeyboardInterrupt
        self.changes += 1

    def write(self, data: bytes, *parts: str) -> None:
        self._count()
        self.written += len(data)
        super().write(data, *parts)

    def remove(self, *parts: str) -> None:
        self._count()
        super().remove(*parts)


@pytest.fixture(autouse=True)
def _small_segments_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(append_log, "SEGMENT_BYTES", 400)
    monkeypatch.setattr(metrics, "can_write_events", lambda: False)  # they have their own tests


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest) -> CountingStore:
    return CountingStore(request.getfixturevalue(f"{request.param}_store").uri)


def records(first: int, last: int, attempt: int = 1) -> list[dict[str, Any]]:
    return [{"step": step, "loss": step / 7, "attempt": attempt} for step in range(first, last + 1)]


def write(store: Store, wanted: list[dict[str, Any]], start: int = 0) -> None:
    """Writes records as a run does that is flushed after each."""
    log = RunLog(store, "run", start)
    for record in wanted:
        log.append(record)
        log.flush()


def test_what_is_written_grows_with_the_records_not_with_their_square(
    store: CountingStore,
) -> None:
    bytes_written = {}
    for count in (200, 400):
        store.written = 0
        write(store, records(1, count))
        assert read_log(store, "run") == records(1, count)
        bytes_written[count] = store.written
    assert bytes_written[400] < 2.1 * bytes_written[200]
    assert bytes_written[400] < 400 * (400 + 60)  # each write: a segment and a record at most


def test_a_full_segment_is_never_written_again(store: CountingStore) -> None:
    log = RunLog(store, "run", token=3)
    store.changes = 0
    for record in records(1, 50):
        log.append(record)
    log.flush()
    names = store.list("runs", "run", "metrics")
    assert names == [f"00000003-0001-0-{number:08d}.jsonl" for number in range(len(names))]
    assert len(names) > 3
    assert store.changes == len(names)  # records that come together are written together
    sizes = [len(store.read("runs", "run", "metrics", name)) for name in names]
    assert all(400 <= size < 460 for size in sizes[:-1])


@pytest.mark.parametrize("start", [0, 1, 7, 8, 39, 40])
def test_a_resumed_run_drops_what_came_after_its_checkpoint(
    store: CountingStore, start: int
) -> None:
    write(store, records(1, 40))
    resumed = RunLog(store, "run", start)
    assert read_log(store, "run") == records(1, start)
    for record in records(start + 1, 60, attempt=2):
        resumed.append(record)
        resumed.flush()
    assert read_log(store, "run") == [*records(1, start), *records(start + 1, 60, attempt=2)]


def test_a_resumed_run_that_dies_at_any_change_leaves_a_log_of_one_record_a_step(
    store: CountingStore,
) -> None:
    whole = records(1, 40)
    moment = 0
    while True:
        store.remove("runs", "run")
        write(store, whole)
        store.changes, store.dies_at = 0, moment
        try:
            write(store, records(10, 30, attempt=2), start=9)
        except KeyboardInterrupt:
            pass
        else:
            assert moment > 20
            break
        finally:
            store.dies_at = None
        found = read_log(store, "run")
        assert [record["step"] for record in found] == list(range(1, len(found) + 1))
        attempts = [record["attempt"] for record in found]
        assert attempts == sorted(attempts)
        assert attempts.count(1) == 9 or 2 not in attempts
        moment += 1


@pytest.mark.parametrize("old", [0, 7])
@pytest.mark.parametrize("start", [0, 12, 19, 20])
def test_what_an_old_holder_writes_late_counts_no_more(
    store: CountingStore, start: int, old: int
) -> None:
    # The old one wakes at each of the new one's writes, and after its end.
    expected = [*records(1, start), *records(start + 1, 30, attempt=2)]
    for wakes in (start, 25, 30):
        store.remove("runs", "run")
        woken = RunLog(store, "run", token=old)
        follower = LogFollower(store, "run")
        for record in records(1, 20):
            woken.append(record)
        woken.flush()
        assert follower.new_records() == records(1, 20)
        new = RunLog(store, "run", start, token=old + 1)
        followed = []
        for step in range(start, 31):
            if step > start:
                new.append(records(step, step, attempt=2)[0])
                new.flush()
            if step == wakes:
                for record in records(21, 60):
                    woken.append(record)
                    woken.flush()
            followed += follower.new_records()
        assert read_log(store, "run") == expected
        assert followed == records(start + 1, 30, attempt=2)
        last = last_record(store, "run")
        assert last == expected[-1]


def test_a_log_that_was_just_opened_ends_where_its_run_goes_on(store: CountingStore) -> None:
    write(store, records(1, 20))
    RunLog(store, "run", 12)
    assert last_record(store, "run") == records(12, 12)[0]
    RunLog(store, "run", 0)
    assert last_record(store, "run") is None


@pytest.mark.parametrize("kind", ["memory", "s3"])
def test_a_running_job_can_be_read(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    assert read_log(store, "run") == []
    with RunLog(store, "run") as log:
        for record in records(1, 30):
            log.append(record)
            if record["step"] % 15 == 0:
                wait_for(store, record["step"])
    assert read_log(store, "run") == records(1, 30)


def wait_for(store: Store, step: int) -> None:
    deadline = time.monotonic() + 60
    while not (found := read_log(store, "run")) or found[-1]["step"] < step:
        assert time.monotonic() < deadline, f"step {step} was not written"
        time.sleep(0.05)


def test_no_record_is_lost_to_a_store_that_is_away(
    proxied_store: Store, proxy: FaultProxy, capfd: pytest.CaptureFixture[str]
) -> None:
    hasty = Store(proxied_store.uri, proxied_store.options, retry_seconds=0)
    with RunLog(hasty, "run") as log:
        log.append({"step": 1})
        wait_for(proxied_store, 1)
        proxy.fail("unavailable", "denied")
        log.append({"step": 2})
        wait_for(Store(proxied_store.uri), 2)  # not through the proxy: the faults are the log's
        log.append({"step": 3})
    assert [record["step"] for record in read_log(proxied_store, "run")] == [1, 2, 3]
    assert capfd.readouterr().out.count("metrics not written, trying again: cannot write") == 2


def test_what_cannot_be_written_at_the_end_is_told(proxied_store: Store, proxy: FaultProxy) -> None:
    log = RunLog(
        Store(proxied_store.uri, proxied_store.options, retry_seconds=0), "run"
    ).__enter__()
    proxy.fail_for(300, "unavailable")
    log.append({"step": 1})
    with pytest.raises(StoreError, match="cannot write"):
        log.__exit__()


def test_the_last_record_is_that_of_the_log_and_costs_one_segment(store: CountingStore) -> None:
    assert last_record(store, "run") is None
    for count in (1, 30, 31):
        write(store, records(1, count))
        assert last_record(store, "run") == read_log(store, "run")[-1]
    assert len(store.list("runs", "run", "metrics")) > 3
    read: list[tuple[str, ...]] = []
    original = store.read

    def counted(*parts: str) -> bytes:
        read.append(parts)
        return original(*parts)

    store.read = counted
    last_record(store, "run")
    assert len(read) == 1
