"""Of several writers that create one object, one wins, also where creates are not atomic."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from flowkd.store.exclusive import create_alone
from flowkd.store.store import Store

WRITERS = 4


@pytest.mark.parametrize("kind", ["memory", "local", "moto", "swift"])
def test_one_of_several_writers_wins(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(f"{kind}_store")
    with ThreadPoolExecutor(WRITERS) as writers:
        for name in ("one", "two"):
            together = threading.Barrier(WRITERS)

            def create(
                data: bytes, name: str = name, together: threading.Barrier = together
            ) -> bool:
                together.wait()
                return create_alone(store, data, "folder", name)

            offered = [uuid.uuid4().bytes for _ in range(WRITERS)]
            told = list(writers.map(create, offered))
            assert sum(told) == 1
            assert store.read("folder", name) == offered[told.index(True)]
