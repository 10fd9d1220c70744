"""TensorBoard reads a run while it runs, and after it was resumed, from a disk and from S3."""

from __future__ import annotations

from typing import Any

import pytest

from flowkd.store.store import Store
from flowkd.training.logs import events
from flowkd.training.logs.metrics import RunLog, read_log
from tests.support.tensorboard import Board

TAGS = ("loss", "validation_bits_per_dim")


@pytest.fixture(autouse=True)
def _every_flush_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(events, "MOST_SECONDS", 0.0)


@pytest.fixture(params=["local", "moto"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


def records(first: int, last: int, attempt: int = 1) -> list[dict[str, Any]]:
    lines = []
    for step in range(first, last + 1):
        line: dict[str, Any] = {"step": step, "time": 1e9 + step, "loss": 1 / step + attempt}
        if step % 5 == 0:
            line |= {"validation_bits_per_dim": 2.0, "at_end": True, "warning": "rises"}
        lines.append(line)
    return lines


def write(log: RunLog, wanted: list[dict[str, Any]], each: int = 10) -> None:
    """Adds records, a few to each flush."""
    for line in wanted:
        log.append(line)
        if line["step"] % each == 0:
            log.flush()


def curves(store: Store, run: str = "run") -> dict[str, list[tuple[int, float]]]:
    """The curves that a viewer must show: those of the log, in single precision."""
    return {
        tag: [
            (line["step"], pytest.approx(line[tag], rel=1e-6))
            for line in read_log(store, run)
            if tag in line
        ]
        for tag in TAGS
    }


def test_a_run_is_read_while_it_runs_and_goes_on_after_a_resume(store: Store) -> None:
    log, board = RunLog(store, "run", token=1), Board(store, "runs")
    for last in (10, 20):
        write(log, records(last - 9, last))
        assert board.curves() == {"run/events": curves(store)}
    kept = log.unwritten()
    write(log, records(21, 40, attempt=2))  # shown, and lost: the last checkpoint is that of 20
    assert board.curves() == {"run/events": curves(store)}
    with RunLog(store, "run", 20, kept, token=2) as resumed:
        write(resumed, records(23, 30))
    assert [line["step"] for line in read_log(store, "run")] == [*range(1, 21), *range(23, 31)]
    assert board.curves() == {"run/events": curves(store)}
    assert Board(store, "runs", "run").curves() == {"events": curves(store)}


def test_what_a_checkpoint_keeps_is_what_a_lost_attempt_did_not_write(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = RunLog(local_store, "run", token=1)
    write(log, records(1, 10))
    monkeypatch.setattr(events, "LEAST_SECONDS", 1e9)
    monkeypatch.setattr(events, "MOST_SECONDS", 1e9)
    write(log, records(11, 20), each=1)  # to the log, not to its copy
    kept = log.unwritten()
    assert kept == records(11, 20)
    with RunLog(local_store, "run", 20, kept, token=2) as resumed:
        write(resumed, records(21, 25))
    assert Board(local_store, "runs").curves() == {"run/events": curves(local_store)}


def test_what_an_old_holder_writes_late_is_not_shown(local_store: Store) -> None:
    old = RunLog(local_store, "run", token=1)
    write(old, records(1, 10))
    board = Board(local_store, "runs")
    board.curves()
    with RunLog(local_store, "run", 6, token=2) as new:
        write(new, records(7, 12), each=1)
        names = local_store.list("runs", "run", "events")
        write(old, records(11, 30, attempt=2))
        old.flush()
        old._finish_events()
        assert local_store.list("runs", "run", "events") == names
    for each in (board, Board(local_store, "runs")):
        assert each.curves() == {"run/events": curves(local_store)}


def test_files_are_few_and_each_is_whole(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    clock = 0.0
    monkeypatch.setattr(events.time, "monotonic", lambda: clock)
    log = RunLog(local_store, "run")
    for line in records(1, 4_000):
        log.append(line)
        clock += 1.0
        log._events.flush(if_due=True)
    log._events.flush()
    names = local_store.list("runs", "run", "events")
    assert len(names) < 170
    data = [local_store.read("runs", "run", "events", name) for name in names]
    assert sum(map(len, data)) < 4_000 * 100
    assert Board(local_store, "runs").steps("run/events", "loss") == [*range(1, 4_001)]


def test_without_the_package_a_run_has_its_metrics_alone(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_library", lambda: None)
    with RunLog(local_store, "run") as log:
        write(log, records(1, 9))
        log.flush()
        assert log.unwritten() == []
    assert read_log(local_store, "run") == records(1, 9)
    assert local_store.list("runs", "run") == ["metrics"]
