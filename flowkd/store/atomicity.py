"""Whether a store lets exactly one of several writers create an object: asked of the store itself.

S3's `If-None-Match: *` says so, and servers differ in whether they hold it: AWS does, others
check first and write then, and some ignore it.
"""

from __future__ import annotations

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from flowkd.errors import StoreError
from flowkd.store.retry import may_pass
from flowkd.store.store import Store

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
