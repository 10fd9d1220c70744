"""Of two writers that lock at the same time neither goes on before the other has given way."""

from __future__ import annotations

import time

import pytest

from flowkd.errors import StoreError
from flowkd.store.locks import acquire_lock
from flowkd.store.store import Store


class ContestedStore(Store):
    """A store in which another writer locks just before each lock of this one."""

    rivals = 0

    def write_json(self, value: object, *parts: str) -> None:
        """Writes the rival's lock, then the value."""
        if self.rivals:
            self.rivals -= 1
            super().write_json({}, *parts[:-1], f"{time.time():.0f}-rival")
        super().write_json(value, *parts)


def test_a_writer_gives_way_to_one_that_it_sees(memory_store: Store) -> None:
    store = ContestedStore(memory_store.uri, retry_seconds=0)
    store.rivals = 1
    with pytest.raises(StoreError, match=r"rival"):
        acquire_lock(store, "locks")
    assert [name for name in store.list("locks") if not name.endswith("rival")] == []


def test_it_goes_on_once_the_other_is_gone(memory_store: Store) -> None:
    store = ContestedStore(memory_store.uri)
    path = acquire_lock(store, "locks")
    assert store.list("locks") == [path.split("/")[1]]
