"""A lock of objects: one writer at a time, on stores that cannot create an object atomically.

A writer puts a lock object beside what it wants to change, lists all of them, and goes on only if
its own is the only one; else it removes it, and tries again after a pause.

Two cannot both go on. Each lists after its lock is written, and a listing shows what was written
before it began. Of two locks that exist at the same time one was written last; its writer's
listing began after both were written, shows both, and so sends its writer back. And who goes on
removes its lock only after its change, so the next one to go on sees that change.
"""

from __future__ import annotations

import json
import math
import os
import random
import socket
import threading
import time
import uuid
import warnings
from concurrent.futures import ThreadPoolExecutor

from flowkd.errors import StoreError
from flowkd.store.retry import is_transient
from flowkd.store.store import Store

# Seconds after which a lock expires: its writer is taken for dead. It assumes that clocks differ
# by much less, and that nobody stands still for so long between its lock and its change.
LOCK_SECONDS = 600.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 1.0  # seconds


def acquire_lock(store: Store, folder: str) -> str:
    """Writes the only lock in a folder, and returns its path.

    Remove it once the outcome of the change is known. If it stays unknown, leave the lock: what
    was sent may yet arrive, and nobody else should write before. It expires after LOCK_SECONDS.

    Args:
        store: Its listings must show what was written before them.
        folder: Holds locks and nothing else.

    Raises:
        StoreError: Others held it for all of the store's `retry_seconds`.
    """
    deadline = time.monotonic() + store.retry_seconds
    pause = FIRST_PAUSE
    while True:
        others = current_locks(store, folder)
        if not others:
            # Named by its time, so that a listing tells all; what is in it is for people.
            mine = f"{time.time():.0f}-{uuid.uuid4().hex}"
            store.write_json({"host": socket.gethostname(), "process": os.getpid()}, folder, mine)
            found = current_locks(store, folder, mine)
            # Its own must show: a listing that lags behind does not tell of others', either.
            if found == [mine]:
                return f"{folder}/{mine}"
            store.remove(folder, mine)
            others = [name for name in found if name != mine]
        wait = pause * random.uniform(0.5, 1.5)
        if time.monotonic() + wait > deadline:
            raise _still_locked(store, folder, others)
        time.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


def current_locks(store: Store, folder: str, mine: str = "") -> list[str]:
    """Returns the names of all locks, and removes those that have expired."""
    current = []
    for name in store.list(folder):
        age = time.time() - _time(name)
        if name == mine or age <= LOCK_SECONDS:
            current.append(name)
            continue
        store.remove(folder, name)
        warnings.warn(
            f"removed {folder}/{name} of {store}: its writer has not come back for {age:.0f} s",
            stacklevel=2,
        )
    return current


def _time(name: str) -> float:
    """Returns when a lock was made; what nobody can read never expires."""
    seconds = name.partition("-")[0]
    return float(seconds) if seconds.isdigit() else math.inf


def _still_locked(store: Store, folder: str, others: list[str]) -> StoreError:
    names = ", ".join(f"{folder}/{name}" for name in others) or f"others, in turn, {folder}"
    return StoreError(
        f"expected {folder} of {store.uri} to be free within {store.retry_seconds:g} s; {names} "
        f"held it: if its writer has died, remove it, or wait until it expires after "
        f"{LOCK_SECONDS / 60:g} minutes"
    )


ROUNDS, WRITERS = 8, 8  # of the race by which a store is probed

_atomic: dict[str, bool] = {}  # by URI and options, of the stores probed by this process
_probing = threading.Lock()


def creates_are_atomic(store: Store) -> bool:
    """Tells whether `Store.create` lets exactly one of several writers win.

    Folders and memory are known to. An object store is probed, once in a process: several
    writers race for one key, round by round, and atomic is what had one winner in every round. So
    False is certain, while True means only that it was not refuted.

    Args:
        store: Objects below `.probe-*` of its root are written and removed again.

    Raises:
        StoreError: It may not be written to at all.
    """
    if store.is_local or store.in_memory:
        return True
    key = json.dumps([store.uri, store.options], sort_keys=True, default=str)
    with _probing:
        if key not in _atomic:
            _atomic[key] = _probe(store)
        return _atomic[key]


def _probe(store: Store) -> bool:
    folder = f".probe-{uuid.uuid4().hex}"
    store.write(b"before", folder, "taken")
    try:
        try:
            if store.create(b"after", folder, "taken"):
                return False
        except StoreError as error:
            if is_transient(error):
                raise
            return False  # not implemented
        with ThreadPoolExecutor(WRITERS) as writers:
            return all(count_winners(store, f"{folder}/{n}", writers) == 1 for n in range(ROUNDS))
    finally:
        store.remove(folder)


def count_winners(store: Store, path: str, writers: ThreadPoolExecutor) -> int:
    """Returns how many of WRITERS threads that create one object at once are told they did."""
    together = threading.Barrier(WRITERS)

    def create(_: int) -> bool:
        together.wait()
        return store.create(uuid.uuid4().bytes, path)

    return sum(writers.map(create, range(WRITERS)))
