"""An object that one of several writers creates, on every store."""

from __future__ import annotations

from flowkd.store.locks import acquire_lock, creates_are_atomic
from flowkd.store.store import Store


def create_alone(store: Store, data: bytes, folder: str, name: str) -> bool:
    """Creates an object where there is none, and tells whether it is this call's.

    Of several calls at once, one wins. Where the store lets several conditional writes succeed,
    one writer at a time creates, under the lock `folder/locks`: a writer that dies within keeps
    others out until its lock expires, and one that stands still within for longer than that wins
    only if its request reaches the server before another's does.

    Args:
        store: May be asked once in a process whether its conditional writes are atomic.
        data: Unlike that of any other call.
        folder: Path of the folder.
        name: Of the object in it.

    Raises:
        StoreError: It failed for another reason than an object that is there.
    """
    if creates_are_atomic(store):
        return store.create(data, folder, name)
    if store.exists(folder, name):
        return store.read(folder, name) == data
    lock = acquire_lock(store, f"{folder}/locks")
    # Should this fail, the lock stays until it expires: the write may arrive yet.
    created = store.create(data, folder, name)
    store.remove(lock)
    return created
