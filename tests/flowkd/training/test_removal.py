"""A run is removed with all that it has, unless something needs it; a crash leaves no half run."""

from __future__ import annotations

import pytest

from flowkd.errors import StoreError
from flowkd.registry.artifact_manifest import resolve
from flowkd.registry.artifacts import load_artifact, publish_artifact
from flowkd.registry.card import Lineage
from flowkd.store.store import Store
from flowkd.training.removal import remove_runs
from flowkd.training.resolve import record_run, resolve_run
from flowkd.training.runs import run_state, run_states
from flowkd.training.setup import run_in_process
from tests.support.small_runs import training

LEARNS = {"kind": "distillation", "teacher": "runs/one"}


@pytest.fixture
def store(taught_store: Store) -> Store:
    """A store with a finished run, `one`, beside the teacher."""
    list(run_in_process(training("one"), taught_store))
    taught_store.write(b"", "runs", "one", "checkpoints", "checkpoint_1", "state.pt")
    return taught_store


def names(store: Store) -> list[str]:
    return [state.run for state in run_states(store)]


def test_nothing_of_it_is_left_and_all_else_is(store: Store) -> None:
    remove_runs(store, ["one"])
    assert names(store) == ["teacher"]
    assert not store.exists("runs", "one")
    with pytest.raises(StoreError, match="no run 'one'"):
        remove_runs(store, ["one"])
    list(run_in_process(training("one", seed=1), store))  # the name is free
    assert run_state(store, "one").state == "finished"


def test_an_unfinished_run_that_learns_from_it_keeps_it_even_by_force(store: Store) -> None:
    student = training("student", objective=LEARNS)
    record_run(student, resolve_run(student, store), store)
    for force in (False, True):
        with pytest.raises(StoreError, match="what run 'student', not finished, learns from"):
            remove_runs(store, ["one"], force=force)
    remove_runs(store, ["one", "student"])
    assert names(store) == ["teacher"]


def test_a_search_that_learns_from_it_keeps_it_until_it_is_done(store: Store) -> None:
    store.write(b"teacher: runs/one\n", "searches", "s", "00000001", "config.yaml")
    with pytest.raises(StoreError, match="what search 's', not finished, learns from"):
        remove_runs(store, ["one"], force=True)
    store.write_json({}, "searches", "s", "00000001", "outcome.json")
    remove_runs(store, ["one"])


def test_what_was_made_from_it_is_named_and_stays_whole_by_force(store: Store) -> None:
    artifact = load_artifact(store, "runs/one")
    version = publish_artifact(
        store, "photos", artifact.flow, artifact.config.flow, lineage=Lineage(run="one"), force=True
    )
    list(run_in_process(training("student", objective=LEARNS), store))
    made = rf"in the lineage of models/photos@{version}, runs/student: --force removes it"
    with pytest.raises(StoreError, match=made):
        remove_runs(store, ["one"])
    remove_runs(store, ["one"], force=True)
    for reference in (f"models/photos@{version}", "runs/student"):
        load_artifact(store, reference)


def test_a_run_that_is_trained_is_not_removed(store: Store) -> None:
    steps = run_in_process(training("two", log_every=1), store)
    for _ in range(3):
        next(steps)
    steps.close()  # which writes its metrics, as one that lives does
    with pytest.raises(StoreError, match=r"has written metrics \d+ s ago: stop it first"):
        remove_runs(store, ["two"])
    with pytest.raises(StoreError, match="run 'one' is what job-1 of the queue makes or needs"):
        remove_runs(store, ["one"], jobs={"one": ["job-1"]}, force=True)
    assert names(store) == ["one", "teacher", "two"]
    remove_runs(store, ["two"], force=True)
    assert names(store) == ["one", "teacher"]


def test_of_several_none_is_removed_if_one_may_not_be(store: Store) -> None:
    with pytest.raises(StoreError, match="no run 'gone'"):
        remove_runs(store, ["one", "gone"])
    assert names(store) == ["one", "teacher"]


class CutOffError(Exception):
    """Ends a process."""


def test_a_removal_that_is_cut_off_anywhere_is_seen_and_can_be_done_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove, left = Store.remove, [0]

    def cut_off(self: Store, *parts: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise CutOffError
        remove(self, *parts)

    cuts = 0
    while True:
        if "one" not in store.list("runs"):
            list(run_in_process(training("one"), store))
        with monkeypatch.context() as patched:
            patched.setattr(Store, "remove", cut_off)
            left[0] = cuts
            try:
                remove_runs(store, ["one"])
                break
            except CutOffError:
                pass
        assert run_state(store, "one").state == "removing"
        with pytest.raises(StoreError, match="removed in part: `flowkd runs remove one` removes"):
            resolve_run(training("one"), store)
        if cuts:
            with pytest.raises(StoreError):
                resolve(store, "runs/one")
        remove_runs(store, ["one"])
        assert names(store) == ["teacher"]
        cuts += 1
    assert cuts > 4
