"""Of several processes at one run, one counts: whoever took the lease last."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from cluster.exits import AGAIN, FENCED
from flowkd.errors import FencedError, HeldError
from flowkd.registry.artifacts import load_artifact
from flowkd.store import holder, lease, lease_keeper
from flowkd.store.lease import Token
from flowkd.store.lease_keeper import LeaseKeeper
from flowkd.store.store import Store
from flowkd.training import lease as run_lease
from flowkd.training.lease import take
from flowkd.training.logs import metrics
from flowkd.training.logs.metrics import read_log
from flowkd.training.setup import run_in_process
from tests.support.crashes import CALLS
from tests.support.drivers import STEPS, config, driver, seen, wait_for_step
from tests.support.pausing import woken_at_each_call
from tests.support.small_runs import furnish, training


def taken(store: Store, number: int) -> float:
    return float(store.read_json("runs", "run", "lease", f"{number:08}.json")["time"])


@pytest.mark.parametrize("wakes", ["during", "after"])
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_a_driver_that_wakes_beside_its_successor_changes_nothing(
    kind: str, wakes: str, request: pytest.FixtureRequest, reliability: Callable[..., None]
) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    furnish(store)
    old = driver(store, "run", pause=0.1)
    new = None
    try:
        wait_for_step(store, "run", 5, old)
        old.send_signal(signal.SIGSTOP)
        stopped_at = read_log(store, "run")[-1]["step"]
        assert stopped_at < STEPS
        new = driver(store, "run", pause=0.1 if wakes == "during" else 0.0)
        if wakes == "during":
            while not store.exists("runs", "run", "lease", "00000002.json"):
                assert new.poll() is None, new.communicate()
                time.sleep(0.02)
            wait_for_step(store, "run", 5, new)
            old.send_signal(signal.SIGCONT)
        said = new.communicate(timeout=300)
        assert new.returncode == 0, said
        before = seen(store, "run")
        old.send_signal(signal.SIGCONT)
        said = old.communicate(timeout=300)
        assert old.returncode == FENCED, said
        assert f"taken over by process {new.pid} on" in said[1]
    finally:
        for each in filter(None, (old, new)):
            each.kill()
            each.wait()
    assert seen(store, "run") == before
    assert [line["step"] for line in before["metrics"]] == list(range(1, STEPS + 1))
    assert all(line["time"] >= taken(store, 2) for line in before["metrics"])
    reliability(
        f"a driver that stands still and wakes {wakes} its successor's run, "
        + ("on disk" if kind == "local" else "on S3"),
        "SIGSTOP to the process in mid-run; another takes over; SIGCONT",
        "it ends with exit code 77; metrics and result are its successor's alone, byte by byte",
    )


def test_of_two_drivers_at_once_one_is_refused(local_store: Store) -> None:
    furnish(local_store)
    both = [driver(local_store, "run", pause=0.2) for _ in range(2)]
    try:
        said = [each.communicate(timeout=300) for each in both]
    finally:
        for each in both:
            each.kill()
            each.wait()
    assert sorted(each.returncode for each in both) == [0, AGAIN], said
    loser = 0 if both[0].returncode else 1
    assert f"error: run 'run' is held by process {both[1 - loser].pid} on" in said[loser][1]
    assert "choose another name" in said[loser][1].replace("\n", " ")
    lines = read_log(local_store, "run")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert local_store.list("runs", "run", "lease") == [
        "00000001.alive.json", "00000001.json", "00000002.json"
    ]  # fmt: skip


def check_until_fenced(keeper: LeaseKeeper) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        keeper.check()
        time.sleep(0.01)


@pytest.mark.parametrize("after", [False, True])
def test_one_that_stands_still_at_any_call_changes_nothing_when_it_wakes(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 1e6)  # it notices as late as can be
    monkeypatch.setattr(metrics, "FLUSH_SECONDS", 1e6)
    furnish(memory_store)
    settings = {"train": {"steps": 3, "warmup_steps": 1}, "log_every": 1, "validate_every": 3}

    def work(store: Store, number: int) -> None:
        list(run_in_process(training(f"run{number}", **settings), store))

    def look(number: int) -> Any:
        found = seen(memory_store, f"run{number}")
        assert [line["step"] for line in found["metrics"]] == [1, 2, 3]
        return found

    count, ends = woken_at_each_call(memory_store, work, look, after=after)
    assert count > 25
    assert ends == {None, FencedError}


def test_a_lease_costs_two_calls_at_the_start_and_none_a_step(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 1e6)
    furnish(memory_store)
    calls: list[str] = []

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Store, *arguments: Any, **options: Any) -> Any:
            if "/lease" in "/".join(str(each) for each in arguments):
                calls.append(name)
            return original(self, *arguments, **options)

        return call

    for name in CALLS:
        monkeypatch.setattr(Store, name, counted(name, getattr(Store, name)))
    for step in run_in_process(training("run"), memory_store):
        assert (step.step, calls) == (step.step, ["list", "create"])
    assert calls == ["list", "create", "create", "write"]  # finished, and given back


def test_a_holder_that_lives_is_named_and_one_that_ended_is_not_waited_for(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 0.02)
    monkeypatch.setenv(holder.JOB, "one")
    monkeypatch.setenv(holder.ATTEMPT, "1")
    waits: list[str] = []
    first = take(memory_store, "run", 9, waits.append)
    assert first is not None
    with LeaseKeeper(first):
        monkeypatch.setenv(holder.JOB, "other")
        with pytest.raises(HeldError, match=r"attempt 1 of job one since 20.*flowkd cancel one"):
            take(memory_store, "run", 9, waits.append)
    assert len(waits) == 1
    second = take(memory_store, "run", 9, waits.append)  # given back
    assert second == Token(memory_store, "runs/run", 2)
    monkeypatch.setenv(holder.ATTEMPT, "2")
    third = take(memory_store, "run", 9, waits.append)  # the queue has ended its first attempt
    assert third is not None
    assert (third.number, len(waits)) == (3, 1)
    other = second.successor()
    assert other is not None
    assert (other.number, third.successor()) == (3, None)
    with (
        pytest.raises(FencedError, match="attempt 2 of job other"),
        LeaseKeeper(second) as keeper,
    ):
        check_until_fenced(keeper)
    assert "00000002.alive.json" not in memory_store.list("runs", "run", "lease")


@pytest.mark.parametrize("data", [b"", b"{", b'{"number": 1}', b"\xff"])
def test_a_damaged_lease_is_one_of_somebody_unknown(memory_store: Store, data: bytes) -> None:
    memory_store.write(data, "runs", "run", "lease", "00000001.json")
    token = take(memory_store, "run", 9)
    assert token is not None
    assert token.number == 2


def test_a_result_that_its_writer_did_not_show_is_shown_by_the_next(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    furnish(memory_store)

    def gone(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_lease, "_show", gone)
        with pytest.raises(KeyboardInterrupt):
            list(run_in_process(config("run"), memory_store))
    assert not memory_store.exists("runs", "run", "result", "manifest.json")
    assert list(run_in_process(config("run"), memory_store)) == []
    assert load_artifact(memory_store, "runs/run").metrics["steps"] == STEPS
