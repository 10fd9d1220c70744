"""Publications, evaluations, searches: who stood still while another took over changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from cluster.exits import FENCED
from flowkd.errors import FencedError, HeldError
from flowkd.evaluation.compare import evaluate
from flowkd.registry.artifact_manifest import versions
from flowkd.store import lease, lease_keeper
from flowkd.store.lease import take
from flowkd.store.lease_keeper import LeaseKeeper
from flowkd.store.store import Store
from tests.support.late_workers import WORK, evaluation, stopped_worker, without_trials
from tests.support.pausing import woken_at_each_call
from tests.support.small_runs import furnish

READ = {
    "publication": lambda store: [
        _all(store, f"models/m/{name}") for name in (*versions(store, "m"), "aliases")
    ],
    "evaluation": lambda store: (
        store.read("evaluations", "compared.json"), store.read("evaluations", "compared.yaml")
    ),
    "search": lambda store: _all(store, "searches/searched/00000002"),
}  # fmt: skip


def _all(store: Store, folder: str) -> dict[str, bytes]:
    root = store.path(folder)
    return {path[len(root) :]: store.fs.cat_file(path) for path in store.fs.find(root)}


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("publication", "local"),
        ("publication", "s3"),
        ("evaluation", "local"),
        ("search", "local"),
    ],
)
def test_a_process_that_wakes_beside_its_successor_changes_nothing(
    kind: str,
    place: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    reliability: Callable[..., None],
) -> None:
    store: Store = request.getfixturevalue(f"{place}_store")
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.3)
    without_trials(monkeypatch.setattr)
    furnish(store)
    old = stopped_worker(kind, store)
    try:
        WORK[kind](store)
        before = READ[kind](store)
        old.send_signal(signal.SIGCONT)
        said = old.communicate(timeout=300)
    finally:
        old.kill()
        old.wait()
    assert old.returncode == FENCED, said
    assert "was taken over by process" in said[1]
    assert READ[kind](store) == before
    reliability(
        f"a process that stands still before it finishes {_a(kind)} {kind}, on "
        + ("disk" if place == "local" else "S3"),
        "SIGSTOP before its last record; another does the same work; SIGCONT",
        "it ends with exit code 77; what readers see is its successor's alone, byte by byte",
    )


def _a(kind: str) -> str:
    return "an" if kind[0] in "aeiou" else "a"


def test_an_evaluation_stands_still_after_any_call(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.0)
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 1e6)
    furnish(memory_store)

    def work(store: Store, number: int) -> None:
        evaluate(evaluation(f"e{number}"), store)

    def look(number: int) -> Any:
        names = (f"e{number}.json", f"e{number}.yaml")
        return [memory_store.read("evaluations", name) for name in names]

    def holds(number: int) -> bool:
        return memory_store.exists("evaluations", f"e{number}", "lease", "00000001.json")

    # One that stood still before it held the evaluation makes another one when it wakes.
    count, ends = woken_at_each_call(memory_store, work, look, after=True, counts=holds)
    assert count > 20
    assert ends == {None, FencedError}


def test_who_drives_a_search_that_another_holds_is_refused_and_says_by_whom(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_keeper, "RENEW_SECONDS", 0.02)
    without_trials(monkeypatch.setattr)
    furnish(memory_store)
    for kind, place in (
        ("search", "searches/searched"), ("evaluation", "evaluations/compared"),
    ):  # fmt: skip
        held = take(memory_store, place)
        with LeaseKeeper(held), pytest.raises(HeldError, match=f"{kind} '.*' is held by process"):
            WORK[kind](memory_store)
        WORK[kind](memory_store)


def test_a_search_goes_on_from_what_its_last_driver_had(
    memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_trials(monkeypatch.setattr)
    furnish(memory_store)
    for number in (1, 3):  # 2 finished the first
        WORK["search"](memory_store)
        folder = f"searches/searched/{number:08}"
        assert memory_store.read_json(folder, "trials", "0000.json")["training"] == {"by": number}
        if number == 1:
            memory_store.write(b"of the first", folder, "results", "of-the-first.txt")
    assert memory_store.read(folder, "results", "of-the-first.txt") == b"of the first"
    assert memory_store.list("searches", "searched") == ["00000003", "lease"]
