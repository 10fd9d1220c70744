"""A run's metrics as JSON lines in the store, written while it runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from flowkd.errors import FencedError, StoreError
from flowkd.store.append_log import AppendLog
from flowkd.store.sealed import seal_line, unseal_line
from flowkd.store.store import Store
from flowkd.training.logs.events import EventLog, can_write_events
from flowkd.training.logs.segments import Segment, next_opening, segments_of

FLUSH_SECONDS = 1.0


class RunLog:
    """Appends records to `runs/<run>/metrics/`; a thread writes, so that steps don't wait.

    Object stores cannot append, so the log is a row of segments. Once it is open, no record of a
    later step than `start` counts that was or will be written by who opened it before. A copy for
    TensorBoard goes to `runs/<run>/events/`.

    Use as a context manager: leaving it writes what is left and raises what a write raised.

    Args:
        store: The store that holds the run.
        run: Name of the run.
        start: Steps already done.
        unwritten: What `unwritten` returned when these steps were done, and a lost attempt may
            not have written since.
        token: Number of the run's lease that this process has; default 0, for none.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        start: int = 0,
        unwritten: Sequence[dict[str, Any]] = (),
        token: int = 0,
    ) -> None:
        self._fresh: list[bytes] = []  # lines that are not written
        folder = ("runs", run, "metrics")
        opening = next_opening(store.list(*folder), token, start)
        self._segments = AppendLog(store, folder, ".jsonl", opening.prefix)
        self._segments.append(b"")  # from now on nothing counts that others write of later steps
        self._events = EventLog(store, run, opening, unwritten) if can_write_events() else None
        for record in unwritten:
            self.append(record)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._flush_regularly, daemon=True)

    def __enter__(self) -> RunLog:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        if kind is None or not issubclass(kind, FencedError):
            self.flush()
            self._finish_events()

    def append(self, record: dict[str, Any]) -> None:
        """Adds a record; it has a `step`, greater than the last one's."""
        self._fresh.append(seal_line(record))
        if self._events is not None:
            self._events.append(record)

    def unwritten(self) -> list[dict[str, Any]]:
        """Returns the records that may not be in the store yet, for a checkpoint to keep.

        Those that only the copy lacks are among them.
        """
        fresh = parse_records(b"".join(self._fresh), ("unwritten",))
        waiting = [] if self._events is None else self._events.waiting()
        found = {record["step"]: record for record in [*waiting, *fresh]}
        return [found[step] for step in sorted(found)]

    def flush(self) -> None:
        """Writes what is new, to the copy from time to time. The thread does so every second."""
        while self._fresh:
            room, taken = self._segments.free_bytes, 0
            for line in list(self._fresh):
                if room <= 0:
                    break
                room -= len(line)
                taken += 1
            self._segments.append(b"".join(self._fresh[:taken]))
            del self._fresh[:taken]
        if self._events is not None:
            self._events.flush(if_due=True)

    def _finish_events(self) -> None:
        try:
            if self._events is not None:
                self._events.flush()
        except (OSError, StoreError) as error:  # of a copy: the training has come to its end
            print(f"the last events for TensorBoard are not written: {error}", flush=True)

    def _flush_regularly(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            try:
                self.flush()
            except (OSError, StoreError) as error:  # tried again in a second, and raised at the end
                print(f"metrics not written, trying again: {error}", flush=True)


def read_log(store: Store, run: str) -> list[dict[str, Any]]:
    """Returns the records that a run has written so far; none if it has not begun."""
    records: dict[int, dict[str, Any]] = {}
    for segment in _segments(store, run):
        for record in read_records(store, ("runs", run, "metrics", segment.name)):
            if record["step"] <= segment.limit:
                records[record["step"]] = record
    return [records[step] for step in sorted(records)]


def last_record(store: Store, run: str) -> dict[str, Any] | None:
    """Returns a run's latest record; of a log that is not new, only the last segment is read."""
    for segment in reversed(_segments(store, run)):
        found = read_records(store, ("runs", run, "metrics", segment.name))
        counted = [record for record in found if record["step"] <= segment.limit]
        if counted:
            return counted[-1]
    return None


def _segments(store: Store, run: str) -> list[Segment]:
    return segments_of(store.list("runs", run, "metrics"))


def read_records(store: Store, path: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the records of a segment; raises StoreError for a line that is none."""
    try:
        data = store.read(*path)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):  # the run has just been removed
            return []
        raise
    return parse_records(data, path)


def parse_records(data: bytes, path: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the records of lines; raises StoreError for a line that is none."""
    return [_record(line, number, path) for number, line in enumerate(data.splitlines(), 1)]


def _record(line: bytes, number: int, path: tuple[str, ...]) -> dict[str, Any]:
    record = unseal_line(line)
    if record is None or not isinstance(record.get("step"), int):
        raise StoreError(
            f"{'/'.join(path)}, line {number}: expected metrics with their step and checksum, as "
            f"they were written; got {line[:40].decode(errors='replace')!r}: remove this line, "
            f"the others stay"
        )
    return record
