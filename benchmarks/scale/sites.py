"""The stores that are filled, a folder and the S3 server of the tests, and what is counted."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flowkd.store.store import Store
from tests.support.counting import CALLS, counted_calls
from tests.support.servers.moto import MotoServer

Fill = Callable[[str, bytes], None]


def stores(folder: Path) -> Iterator[tuple[str, Store, Fill]]:
    """Yields the name of each site, its store, and what writes an object there at once."""
    root = folder / "store"
    yield "disk", Store(str(root)), lambda path, data: _put(root / path, data)
    with MotoServer(folder) as server:
        os.environ.update(server.environment())
        store = Store(server.uri("scale"))
        yield "s3", store, lambda path, data: store.fs.pipe_file(store.path(path), data)


def _put(path: Path, data: bytes) -> None:
    """Writes a file as a store does, but without waiting for the disk: there are very many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def told(work: Callable[[], object], rounds: int = 1) -> dict[str, Any]:
    """Returns the milliseconds that some work takes, by the clock and of the CPU, and its calls."""
    with counted_calls() as calls:
        work()
    counts = {name: calls[name] for name in CALLS if calls[name]}
    seconds, of_cpu = [], []
    for _ in range(rounds):
        began, cpu = time.perf_counter(), time.process_time()
        work()
        seconds.append(time.perf_counter() - began)
        of_cpu.append(time.process_time() - cpu)
    return {
        "ms": round(1000 * statistics.median(seconds), 1),
        "cpu_ms": round(1000 * statistics.median(of_cpu), 1),
        "calls": sum(counts.values()),
        "by_name": counts,
    }
