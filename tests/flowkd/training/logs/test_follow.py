"""Who follows a run's log reads each byte once, and sees what a resumed run writes."""

from __future__ import annotations

from typing import Any

import pytest

from flowkd.errors import StoreError
from flowkd.store import append_log
from flowkd.store.store import Store
from flowkd.training.logs.follow import LogFollower
from flowkd.training.logs.metrics import RunLog, read_log


class ReadStore(Store):
    """Counts the bytes that are read from it."""

    read_bytes = 0

    def read(self, *parts: str, start: int | None = None) -> bytes:
        data = super().read(*parts, start=start)
        self.read_bytes += len(data)
        return data


@pytest.fixture(params=["memory", "local"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ReadStore:
    monkeypatch.setattr(append_log, "SEGMENT_BYTES", 200)
    return ReadStore(request.getfixturevalue(f"{request.param}_store").uri)


def append(log: RunLog, *steps: int) -> list[dict[str, Any]]:
    records = [{"step": step, "loss": step / 7} for step in steps]
    for record in records:
        log.append(record)
        log.flush()
    return records


def test_each_byte_is_read_once(store: ReadStore) -> None:
    follower, log = LogFollower(store, "run"), RunLog(store, "run")
    assert follower.new_records() == []
    for step in range(1, 41):
        store.read_bytes = 0
        assert append(log, step) == follower.new_records()
        assert store.read_bytes < 80
    assert len(store.list("runs", "run", "metrics")) > 3
    store.read_bytes = 0
    assert (follower.new_records(), store.read_bytes) == ([], 0)


def test_a_run_that_is_resumed_is_followed(store: ReadStore) -> None:
    follower = LogFollower(store, "run")
    append(RunLog(store, "run"), *range(1, 21))
    assert len(follower.new_records()) == 20
    log = RunLog(store, "run", start=8)  # an attempt was lost, with the steps after 8
    assert follower.new_records() == []
    again = append(log, *range(9, 30))
    assert follower.new_records() == again
    assert [record["step"] for record in read_log(store, "run")] == list(range(1, 30))


@pytest.mark.parametrize(
    "line", [b'{"step": 3, "lo', b"\xff\xfe\x00", b"[1, 2]", b'{"loss": 1.0}', b""]
)
def test_a_damaged_line_is_named(store: ReadStore, line: bytes) -> None:
    follower = LogFollower(store, "run")
    append(RunLog(store, "run"), 1, 2)
    follower.new_records()
    path = ("runs", "run", "metrics", store.list("runs", "run", "metrics")[0])
    store.write(store.read(*path) + line + b"\n", *path)
    for read in (
        lambda: read_log(store, "run"),
        LogFollower(store, "run").new_records,
        follower.new_records,
    ):
        with pytest.raises(StoreError) as caught:
            read()
        said = str(caught.value)
        assert f"{'/'.join(path)}, line 3: expected metrics" in said
        assert "remove this line" in said
        assert said.isprintable()
