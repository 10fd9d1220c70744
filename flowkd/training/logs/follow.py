"""A run's metrics as they come: each look reads what is new, and no more."""

from __future__ import annotations

import math
from typing import Any

from flowkd.errors import StoreError
from flowkd.store.store import Store
from flowkd.training.logs.metrics import parse_records, read_records
from flowkd.training.logs.segments import segments_of


class LogFollower:
    """Reads what a run has written since the last look.

    A look costs one listing, and reads of the new bytes alone. Records that a lost attempt has
    written, and a resumed run replaces, have been returned by then; what it writes afterwards is
    left out.

    Args:
        store: The store that holds the run.
        run: Name of the run.

    Examples:
        >>> from flowkd.training.logs.metrics import RunLog
        >>> store = Store("memory://follow-log")
        >>> follower = LogFollower(store, "run")
        >>> with RunLog(store, "run") as log:
        ...     log.append({"step": 1, "loss": 0.5})
        >>> follower.new_records(), follower.new_records()
        ([{'step': 1, 'loss': 0.5}], [])
        >>> store.remove()
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._folder = store, ("runs", run, "metrics")
        self._seen: dict[str, int] = {}  # bytes that were read of each segment
        self._last = 0  # the latest step that was returned

    def new_records(self) -> list[dict[str, Any]]:
        """Returns the records that are new, oldest first.

        Raises:
            StoreError: The store cannot be read, or a line is damaged.
        """
        records: list[dict[str, Any]] = []
        sizes = self._store.sizes(*self._folder)
        for segment in segments_of(sizes):
            name, seen = segment.name, self._seen.get(segment.name, 0)
            if sizes[name] <= seen:
                continue
            data = self._read(name)
            try:
                found = parse_records(data, (*self._folder, name))
            except StoreError:  # whose line counts from what was read
                read_records(self._store, (*self._folder, name))
                raise
            # What is of a lost attempt, or its last checkpoint kept, may have been returned before.
            lost = segment.limit < math.inf
            after = self._last if lost else min(self._last, segment.opening.start)
            new = [each for each in found if after < each["step"] <= segment.limit]
            records += new
            self._last = new[-1]["step"] if new else self._last
        return records

    def _read(self, name: str) -> bytes:
        """Returns what is new in a segment, or all of one that has become another."""
        last = max(0, self._seen.get(name, 0) - 1)
        data = self._store.read(*self._folder, name, start=last)
        if last and not data.startswith(b"\n"):
            last, data = 0, self._store.read(*self._folder, name)
        self._seen[name] = last + len(data)
        return data.removeprefix(b"\n")
