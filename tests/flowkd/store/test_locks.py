"""Where conditional writes are not atomic, one writer at a time moves an alias, and says so."""

from __future__ import annotations

import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowkd.errors import StoreError
from flowkd.registry.aliases import alias_version, set_alias
from flowkd.store import locks
from flowkd.store.locks import acquire_lock
from flowkd.store.store import Store

FOLDER = "models/m/aliases/best"


def furnish(store: Store) -> Store:
    for version in ("v0", "v1"):
        store.write(b"{}", "models", "m", version, "manifest.json")
    return store


@pytest.fixture
def locked(swift_store: Store) -> Store:
    """A store that needs locks, with an alias."""
    with pytest.warns(UserWarning, match="one writer at a time"):
        set_alias(furnish(swift_store), "m", "best", "v0")
    return Store(swift_store.uri, retry_seconds=1)


def leave_lock(store: Store, age: float) -> str:
    """Leaves the lock of a writer that did not come back, and returns its path."""
    path = f"{FOLDER}/locks/{time.time() - age:.0f}-0123"
    store.write_json({"host": "elsewhere", "process": 1}, path)
    return path


def test_the_lock_of_a_dead_writer_is_removed_with_a_word(locked: Store) -> None:
    path = leave_lock(locked, age=locks.LOCK_SECONDS + 5)
    with pytest.warns(UserWarning, match=f"removed {path} of .* not come back for 60. s"):
        assert set_alias(locked, "m", "best", "v1") == 2
    assert locked.list(FOLDER, "locks") == []


@pytest.mark.parametrize("age", [0, locks.LOCK_SECONDS - 60, -locks.LOCK_SECONDS])
def test_a_lock_that_has_not_expired_blocks_and_is_named(locked: Store, age: float) -> None:
    path = leave_lock(locked, age)
    with pytest.raises(StoreError, match=f"{path} held it: if its writer has died, remove it"):
        set_alias(locked, "m", "best", "v1")
    assert alias_version(locked, "m", "best") == "v0"
    assert locked.list(FOLDER, "locks") == [path.rsplit("/")[-1]]
    locked.remove(path)
    assert set_alias(locked, "m", "best", "v1") == 2


def test_a_lock_that_goes_in_time_is_waited_for(locked: Store) -> None:
    path = leave_lock(locked, age=0)
    patient = Store(locked.uri, retry_seconds=30)
    with ThreadPoolExecutor(1) as mover:
        moving = mover.submit(set_alias, patient, "m", "best", "v1")
        time.sleep(0.5)
        assert not moving.done()
        locked.remove(path)
        assert moving.result() == 2


def test_what_is_not_expected_waits_for_no_lock(locked: Store) -> None:
    leave_lock(locked, age=0)
    with pytest.raises(StoreError, match="to point at v3; got v0"):  # at once: nothing to wait for
        set_alias(locked, "m", "best", "v1", expected="v3")


def test_weak_semantics_are_said_once_for_a_store(swift_store: Store) -> None:
    with pytest.warns(UserWarning, match=f"conditional writes to {swift_store.uri} at once, more"):
        set_alias(furnish(swift_store), "m", "best", "v0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_alias(swift_store, "m", "best", "v1")


def test_one_of_many_is_inside_at_a_time(swift_store: Store) -> None:
    inside, entered = 0, 0

    def enter(_: int) -> None:
        nonlocal inside, entered
        mine = acquire_lock(swift_store, "locks")
        inside, entered = inside + 1, entered + 1
        assert inside == 1
        time.sleep(0.05)
        inside -= 1
        swift_store.remove(mine)

    with ThreadPoolExecutor(4) as writers:
        list(writers.map(enter, range(4)))
    assert entered == 4
    assert swift_store.list("locks") == []
