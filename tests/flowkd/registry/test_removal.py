"""An alias never points at nothing, whoever moves it or removes its version, dies, or is slow."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from flowkd.errors import StoreError
from flowkd.registry import aliases
from flowkd.registry.aliases import alias_version, set_alias
from flowkd.registry.artifact_manifest import resolve, versions
from flowkd.registry.removal import remove_version
from flowkd.store import locks
from flowkd.store.sealed import write_sealed
from flowkd.store.store import Store
from tests.support.crashes import CALLS, Crash, crash_at

pytestmark = pytest.mark.filterwarnings("ignore:removed models", "ignore:of several conditional")


@pytest.fixture(params=["atomic", "locked"])
def store(
    request: pytest.FixtureRequest, memory_store: Store, monkeypatch: pytest.MonkeyPatch
) -> Store:
    """A model of two versions, of which `best` is the first; nobody waits for anybody."""
    monkeypatch.setattr(aliases, "creates_are_atomic", lambda store: request.param == "atomic")
    monkeypatch.setattr(locks, "FIRST_PAUSE", 0.0)
    monkeypatch.setattr(locks, "LONGEST_PAUSE", 0.0)
    store = Store(memory_store.uri, retry_seconds=0)
    furnish(store)
    return store


def furnish(store: Store) -> None:
    store.remove("models")
    for version in ("v0", "v1"):
        manifest = {"format": 1, "created": "", "parts": {}}
        write_sealed(store, manifest, "models", "m", version, "manifest.json")
        store.write(b"x", "models", "m", version, "weights.safetensors")
    set_alias(store, "m", "best", "v0")


def meanwhile(patch: pytest.MonkeyPatch, number: int, action: Callable[[], Any]) -> list[int]:
    """Has an action happen before the store's call of a number, whose calls do not count."""
    count, busy = itertools.count(1), []
    happened: list[int] = []

    def patched(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Store, *arguments: Any) -> Any:
            if not busy and next(count) == number:
                busy.append(1)
                action()
                busy.clear()
                happened.append(number)
            return original(self, *arguments)

        return call

    for name in CALLS:
        patch.setattr(Store, name, patched(getattr(Store, name)))
    return happened


def told(action: Callable[[], Any]) -> str:
    try:
        action()
    except StoreError as error:
        return str(error)
    except Crash:
        return "crashed"
    return "done"


def check(store: Store, moved: str, removed: str) -> None:
    """Whatever was told, the alias points at a version that is there, and where it was told to."""
    assert resolve(store, "models/m@best") == f"models/m/{alias_version(store, 'm', 'best')}"
    if moved == "done":
        assert alias_version(store, "m", "best") == "v1"
        assert removed != "done"
    if removed == "done":
        assert alias_version(store, "m", "best") == "v0"
        assert versions(store, "m") == ["v0"]


@pytest.mark.parametrize("dies", [0, *range(1, 12)])
def test_a_move_and_a_removal_at_once_leave_no_alias_dangling(store: Store, dies: int) -> None:
    def move() -> None:
        with pytest.MonkeyPatch.context() as patch:
            if dies:
                crash_at(patch, dies, after=True)
            set_alias(store, "m", "best", "v1")

    outcomes = set()
    for number in itertools.count(1):
        furnish(store)
        moved: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            happened = meanwhile(patch, number, lambda to=moved: to.append(told(move)))
            removed = told(lambda: remove_version(store, "m", "v1"))
        if not happened:
            break
        check(store, moved[0], removed)
        outcomes.add((moved[0] == "done", removed == "done"))
    assert number > 10
    if not dies:
        assert {(True, False), (False, True)} <= outcomes


def test_a_removal_in_the_middle_of_a_move_leaves_no_alias_dangling(store: Store) -> None:
    outcomes = set()
    for number in itertools.count(1):
        furnish(store)
        removed: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            happened = meanwhile(
                patch,
                number,
                lambda to=removed: to.append(told(lambda: remove_version(store, "m", "v1"))),
            )
            moved = told(lambda: set_alias(store, "m", "best", "v1"))
        if not happened:
            break
        check(store, moved, removed[0])
        outcomes.add((moved == "done", removed[0] == "done"))
        assert "done" in (moved, removed[0])
    assert outcomes == {(True, False), (False, True)}


@pytest.mark.parametrize("after", [False, True])
def test_a_removal_that_dies_anywhere_can_be_ended_and_keeps_nobody_from_moving(
    store: Store, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in itertools.count(1):
        furnish(store)
        with monkeypatch.context() as patch:
            crash_at(patch, number, after=after)
            if told(lambda: remove_version(store, "m", "v1")) == "done":
                break
        check(store, "", "")
        with monkeypatch.context() as patch:
            patch.setattr(locks, "LOCK_SECONDS", -1)  # as if the crash were long ago
            if number % 2:
                moved = told(lambda: set_alias(store, "m", "best", "v1"))
                assert moved == "done" or "v1" not in versions(store, "m")
                check(store, moved, "")
            elif store.list("models", "m", "v1"):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    remove_version(store, "m", "v1")
        if not number % 2:
            assert store.list("models", "m", "v1") == []
            check(store, "", "done")
    assert number > 10


def test_an_alias_that_never_pointed_elsewhere_is_gone_with_its_only_version(store: Store) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # It dies after its move, which a removal that had looked before could not see.
        def move() -> None:
            with pytest.MonkeyPatch.context() as inner:
                inner.setattr(aliases, "_stay_clear_of_removals", lambda *_: None)
                inner.setattr(aliases, "current_locks", lambda *_: [])
                set_alias(store, "m", "new", "v1")

        def before_manifest_goes() -> None:
            patch.setattr(Store, "remove", removing)
            move()

        removing = Store.remove
        patch.setattr(
            Store, "remove", lambda self, *parts: (before_manifest_goes(), removing(self, *parts))
        )
        remove_version(store, "m", "v1")
    assert alias_version(store, "m", "new") is None
    with pytest.raises(StoreError, match=r"no 'new' of model 'm'"):
        resolve(store, "models/m@new")
