"""What is done to all that is below a folder of a store: copied, or removed by its exact name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from flowkd.errors import StoreError
from flowkd.store.store import Store


def copy_folder(store: Store, source: str, target: str) -> None:
    """Copies all that is below a folder into another, object by object, within the store.

    Objects are copied in the order of their paths: the last may tell that all are there.

    Raises:
        StoreError: There is nothing, or something was removed meanwhile.
    """
    try:
        store.retry("copy", lambda path: _copy(store, path, store.path(target)), source)
    except FileNotFoundError as error:
        raise StoreError(f"no folder {source!r} in store {store.uri}") from error


def remove_child(store: Store, name: str, *folder: str) -> None:
    """Removes what lies in a folder under exactly this name, which may hold `*`, `?` or `[`.

    Such a name has no path of its own in a store: fsspec would take it for a pattern.
    """
    if name in ("", ".", "..") or "/" in name:
        raise StoreError(f"expected a name in {'/'.join(folder)!r} of {store.uri}; got {name!r}")
    store.retry("remove from", lambda path: _remove(store, f"{path}/{name}"), *folder)


def _copy(store: Store, source: str, target: str) -> None:
    found = sorted(store.fs.find(source))
    if not found:
        raise FileNotFoundError(source)
    for path in found:
        goal = f"{target}{path[len(source) :]}"
        if store.is_local:
            Path(goal).parent.mkdir(parents=True, exist_ok=True)
        store.fs.cp_file(path, goal)


def _remove(store: Store, path: str) -> None:
    if store.is_local:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.remove(path)
        return
    for found in store.fs.find(path):  # neither of these two expands anything
        store.fs.rm_file(found)
