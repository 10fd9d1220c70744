"""Bits that are flipped in objects of a store, the same ones each time."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

from flowkd.store.store import Store


def flipped(data: bytes, seed: int) -> bytes:
    """Returns bytes of which one bit, drawn by a seed, is another one."""
    place = random.Random(seed).randrange(8 * len(data))
    changed = bytearray(data)
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def objects_below(store: Store, *folder: str) -> list[str]:
    """Returns the paths of all objects below a folder, but for locks."""
    found = []
    for name in store.list(*folder):
        inner = objects_below(store, *folder, name)
        found += inner or ([] if name == "locks" else ["/".join([*folder, name])])
    return found


@contextmanager
def damaged(store: Store, path: str, seed: int) -> Iterator[None]:
    """Flips a bit of an object, which is whole again afterwards."""
    whole = store.read(path)
    store.write(flipped(whole, seed), path)
    try:
        yield
    finally:
        store.write(whole, path)
