"""One writer at a time, on stores that cannot create an object atomically.

A writer puts a claim beside what it wants to change, lists all claims, and goes on only if its
own is the only one; else it takes it back, and tries again after a pause.

Two cannot both go on. Each lists after its claim is written, and a listing shows what was written
before it began. Of two claims that exist at the same time one was written last; its writer's
listing began after both were written, shows both, and so sends its writer back. And who goes on
takes its claim back only after its change, so the next one to go on sees that change.
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
from flowkd.store.retry import may_pass
from flowkd.store.store import Store

# Seconds after which a claim is taken for that of a writer that died. It assumes that clocks differ
# by much less, and that nobody stands still for so long between its claim and its change.
LIFE = 600.0
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 1.0


def acquire_lock(store: Store, folder: str) -> str:
    """Writes the only claim in a folder of claims, and returns its path.

    Remove it once the outcome of the change is known. If it stays unknown, leave the claim: what
    was sent may yet arrive, and nobody else should write before. Then it lapses after LIFE.

    Args:
        store: Its listings must show what was written before them.
        folder: Of the claims; nothing else is in it.

    Raises:
        StoreError: Others had it for all of the store's patience.
    """
    deadline = time.monotonic() + store.retry_seconds
    pause = FIRST_PAUSE
    while True:
        others = _living(store, folder)
        if not others:
            # Named by its time, so that a listing tells all; what is in it is for people.
            mine = f"{time.time():.0f}-{uuid.uuid4().hex}"
            store.write_json({"host": socket.gethostname(), "process": os.getpid()}, folder, mine)
            found = _living(store, folder, mine)
            # Its own must show: a listing that lags behind does not tell of others', either.
            if found == [mine]:
                return f"{folder}/{mine}"
            store.remove(folder, mine)
            others = [name for name in found if name != mine]
        wait = pause * random.uniform(0.5, 1.5)
        if time.monotonic() + wait > deadline:
            raise _held(store, folder, others)
        time.sleep(wait)
        pause = min(2 * pause, LONGEST_PAUSE)


def _living(store: Store, folder: str, mine: str = "") -> list[str]:
    """Returns the names of all claims, and removes those that have lapsed."""
    living = []
    for name in store.list(folder):
        age = time.time() - _time(name)
        if name == mine or age <= LIFE:
            living.append(name)
            continue
        store.remove(folder, name)
        warnings.warn(
            f"removed {folder}/{name} of {store.uri}: its writer has not come back for {age:.0f} s",
            stacklevel=2,
        )
    return living


def _time(name: str) -> float:
    """Returns when a claim was made; what nobody can read never lapses."""
    seconds = name.partition("-")[0]
    return float(seconds) if seconds.isdigit() else math.inf


def _held(store: Store, folder: str, others: list[str]) -> StoreError:
    names = ", ".join(f"{folder}/{name}" for name in others) or f"others, in turn, {folder}"
    return StoreError(
        f"expected {folder} of {store.uri} to be free within {store.retry_seconds:g} s; {names} "
        f"held it: if its writer has died, remove it, or wait until it lapses after "
        f"{LIFE / 60:g} minutes"
    )


ROUNDS, WRITERS = 8, 8

_known: dict[str, bool] = {}
_asking = threading.Lock()


def creates_are_atomic(store: Store) -> bool:
    """Tells whether `Store.create` lets exactly one of several writers win.

    Folders and memory are known to. Of an object store it is found out, once in a process: several
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
    with _asking:
        if key not in _known:
            _known[key] = _not_refuted(store)
        return _known[key]


def _not_refuted(store: Store) -> bool:
    folder = f".probe-{uuid.uuid4().hex}"
    store.write(b"before", folder, "taken")
    try:
        try:
            if store.create(b"after", folder, "taken"):
                return False
        except StoreError as error:
            if may_pass(error):
                raise
            return False  # not implemented
        with ThreadPoolExecutor(WRITERS) as writers:
            return all(winners(store, f"{folder}/{n}", writers) == 1 for n in range(ROUNDS))
    finally:
        store.remove(folder)


def winners(store: Store, path: str, writers: ThreadPoolExecutor) -> int:
    """Returns how many of WRITERS threads that create one object at once are told they did."""
    together = threading.Barrier(WRITERS)

    def create(_: int) -> bool:
        together.wait()
        return store.create(uuid.uuid4().bytes, path)

    return sum(writers.map(create, range(WRITERS)))
