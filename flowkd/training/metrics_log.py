"""A run's metrics as JSON lines in the store, written while it runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from flowkd.errors import StoreError
from flowkd.store.append_log import AppendLog
from flowkd.store.sealed import seal_line, unseal_line
from flowkd.store.store import Store

FLUSH_SECONDS = 1.0


class RunLog:
    """Appends records to `runs/<run>/metrics/`; a thread writes, so that steps don't wait.

    Object stores cannot append, so the log is a row of segments, `00000000.jsonl` and on.

    Use as a context manager: leaving it writes what is left and raises what a write raised.

    Args:
        store: The store that holds the run.
        run: Name of the run.
        start: Steps already done; records of later steps, from a lost attempt, are dropped.
        unwritten: What `unwritten` returned when these steps were done, and a lost attempt may
            not have written since.
    """

    def __init__(
        self, store: Store, run: str, start: int = 0, unwritten: Sequence[dict[str, Any]] = ()
    ) -> None:
        self._fresh: list[bytes] = []  # lines that are not written
        number = _drop_after(store, run, start)
        if unwritten:
            last = last_record(store, run)
            for record in unwritten:
                if last is None or record["step"] > last["step"]:
                    self.append(record)
        self._segments = AppendLog(store, ("runs", run, "metrics"), ".jsonl", number)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._flush_regularly, daemon=True)

    def __enter__(self) -> RunLog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self.flush()

    def append(self, record: dict[str, Any]) -> None:
        """Adds a record; it has a `step`, greater than the last one's."""
        self._fresh.append(seal_line(record))

    def unwritten(self) -> list[dict[str, Any]]:
        """Returns the records that may not be in the store yet, for a checkpoint to keep."""
        return parse_records(b"".join(self._fresh), ("unwritten",))

    def flush(self) -> None:
        """Writes what is new. The thread does so every second."""
        while self._fresh:
            room, taken = self._segments.free_bytes, 0
            for line in list(self._fresh):
                if room <= 0:
                    break
                room -= len(line)
                taken += 1
            self._segments.append(b"".join(self._fresh[:taken]))
            del self._fresh[:taken]

    def _flush_regularly(self) -> None:
        while not self._closing.wait(FLUSH_SECONDS):
            try:
                self.flush()
            except (OSError, StoreError) as error:  # tried again in a second, and raised at the end
                print(f"metrics not written, trying again: {error}", flush=True)


def read_log(store: Store, run: str) -> list[dict[str, Any]]:
    """Returns the records that a run has written so far; none if it has not begun."""
    records: list[dict[str, Any]] = []
    for path in _segments(store, run):
        found = read_records(store, path)
        # A lost attempt's, read just before a resumed run replaced them.
        while found and records and records[-1]["step"] >= found[0]["step"]:
            records.pop()
        records += found
    return records


def last_record(store: Store, run: str) -> dict[str, Any] | None:
    """Returns a run's latest record, of which only the last segment is read; None before any."""
    for path in reversed(_segments(store, run)):
        found = read_records(store, path)
        if found:
            return found[-1]
    return None


def _drop_after(store: Store, run: str, start: int) -> int:
    """Drops records of steps after `start`; returns the number of the next segment.

    From the last segment to the first: what is left at any moment is a log without its end.
    """
    for path in reversed(_segments(store, run)):
        found = read_records(store, path)
        kept = [record for record in found if record["step"] <= start]
        if not kept:
            store.remove(*path)
            continue
        if len(kept) < len(found):
            store.write(b"".join(map(seal_line, kept)), *path)
        number = path[-1].removesuffix(".jsonl")
        return int(number) + 1 if number.isdecimal() else 0
    return 0


def _segments(store: Store, run: str) -> list[tuple[str, ...]]:
    names = [name for name in store.list("runs", run, "metrics") if name.endswith(".jsonl")]
    # Before there were segments, a run's whole log was one file.
    return [("runs", run, "metrics.jsonl"), *(("runs", run, "metrics", name) for name in names)]


def read_records(store: Store, path: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the records of a segment; raises StoreError for a line that is none."""
    try:
        data = store.read(*path)
    except StoreError as error:
        if isinstance(error.__cause__, FileNotFoundError):  # a resumed run has just removed it
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
