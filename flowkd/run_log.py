"""A run's metrics as JSON lines in the store, written while it runs."""

from __future__ import annotations

import json
import threading
from typing import Any

from flowkd.errors import StoreError
from flowkd.store import Store

FLUSH_SECONDS = 1.0


class RunLog:
    """Appends records to `runs/<run>/metrics.jsonl`; a thread writes, so that steps don't wait.

    Use as a context manager: leaving it writes what is left and raises what a write raised.

    Args:
        store: Where.
        run: Name of the run.
        start: Steps already done; records of later steps, from a lost attempt, are dropped.
    """

    def __init__(self, store: Store, run: str, start: int = 0) -> None:
        self._store = store
        self._path = ("runs", run, "metrics.jsonl")
        kept = [record for record in read_log(store, run) if record["step"] <= start]
        self._lines = [json.dumps(record) for record in kept]
        self._written = -1
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._flush_regularly, daemon=True)

    def __enter__(self) -> RunLog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._flush()

    def append(self, record: dict[str, Any]) -> None:
        """Adds a record; it has a `step`."""
        self._lines.append(json.dumps(record))

    def _flush_regularly(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            try:
                self._flush()
            except (OSError, StoreError) as error:  # tried again in a second, and raised at the end
                print(f"metrics not written, trying again: {error}", flush=True)

    def _flush(self) -> None:
        lines = list(self._lines)
        if len(lines) != self._written:
            self._store.write("".join(f"{line}\n" for line in lines).encode(), *self._path)
            self._written = len(lines)


def read_log(store: Store, run: str) -> list[dict[str, Any]]:
    """Returns the records that a run has written so far; none if it has not begun."""
    if not store.exists("runs", run, "metrics.jsonl"):
        return []
    lines = store.read("runs", run, "metrics.jsonl").decode().splitlines()
    return [json.loads(line) for line in lines]
