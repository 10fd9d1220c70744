"""A run's metrics as TensorBoard reads them, `runs/NAME/events/`, written while it runs.

Each file is written once and whole, since object stores cannot append and some readers never look
at a file again that was replaced. Their names are in the order in which they are to be read:
`events.out.tfevents.00000002-0001-00000000` is the first file of a log that was opened for the
first time by who holds number 2 of the run's lease. It says at which step the run goes on, and
readers forget what they have read of later ones.

The files are a copy, for viewers; `runs/NAME/metrics/` is what counts. Without the package
tensorboardX there are none.
"""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

from flowkd.store.store import Store
from flowkd.training.logs.segments import Opening

FILE = re.compile(r"events\.out\.tfevents\.([0-9]{8})-([0-9]{4})-[0-9]{8}")
VERSION = "brain.Event:2"  # from it on, readers obey START
# A file holds what is new after this share of the time so far: few files, and never too late.
SHARE, LEAST_SECONDS, MOST_SECONDS = 0.05, 2.0, 120.0
NO_SCALARS = frozenset(["step", "time", "ends_at", "ends_no_earlier"])


class EventLog:
    """Writes a run's records as event files, each with those that are new.

    Args:
        store: The store that holds the run.
        run: Name of the run.
        opening: Of the run's log, whose copy this is.
        unwritten: Records up to its start that may be in no file yet.
    """

    def __init__(
        self, store: Store, run: str, opening: Opening, unwritten: Sequence[dict[str, Any]] = ()
    ) -> None:
        self._store, self._folder = store, ("runs", run, "events")
        self._opening, self._number = opening, 0
        self._waiting: list[dict[str, Any]] = []  # records that are in no file
        self._began = self._written = time.monotonic()
        self._overtaken = False
        done = min([opening.start, *(record["step"] - 1 for record in unwritten)])
        self._put(_framed(_restart(done + 1)))

    def append(self, record: dict[str, Any]) -> None:
        """Adds a record, for the next file."""
        self._waiting.append(record)

    def waiting(self) -> list[dict[str, Any]]:
        """Returns the records that are in no file yet."""
        return list(self._waiting)

    def flush(self, *, if_due: bool = False) -> None:
        """Writes what is new into a file of its own.

        Args:
            if_due: Only if the last one is long ago.

        Raises:
            StoreError: The store refused it; it is tried again with the next.
        """
        now = time.monotonic()
        pause = min(MOST_SECONDS, max(LEAST_SECONDS, SHARE * (now - self._began)))
        count = len(self._waiting)
        if not count or (if_due and now - self._written < pause):
            return
        if not self._overtaken:
            self._put(b"".join(_framed(_scalars(each)) for each in self._waiting[:count]))
        del self._waiting[:count]
        self._written = now

    def _put(self, data: bytes) -> None:
        """Writes a file, and takes it back where another has opened the log since."""
        token, count = self._opening.token, self._opening.time
        name = f"events.out.tfevents.{token:08}-{count:04}-{self._number:08}"
        self._store.write(_framed(_version()) + data, *self._folder, name)
        self._number += 1
        if (token, count) < max(_openings(self._store.list(*self._folder)), default=(0, 0)):
            self._overtaken = True
            self._store.remove(*self._folder, name)


def can_write_events() -> bool:
    """Tells whether the package is there that event files are made with."""
    return _library() is not None


class _Library(NamedTuple):
    """What of the package is needed."""

    event: Any
    session_log: Any
    summary: Any
    masked_crc32c: Any


@cache
def _library() -> _Library | None:
    try:
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.record_writer import masked_crc32c
    except Exception:  # also of a protobuf that does not fit
        return None
    return _Library(Event, SessionLog, Summary, masked_crc32c)


def _known() -> _Library:
    found = _library()
    assert found is not None
    return found


def _openings(names: Iterable[str]) -> list[tuple[int, int]]:
    return [(int(match[1]), int(match[2])) for match in map(FILE.fullmatch, names) if match]


def _version() -> Any:
    return _known().event(wall_time=time.time(), file_version=VERSION)


def _restart(step: int) -> Any:
    """Returns the event by which readers forget this step and all later ones."""
    known = _known()
    log = known.session_log(status=known.session_log.START)
    return known.event(wall_time=time.time(), step=step, session_log=log)


def _scalars(record: dict[str, Any]) -> Any:
    summary = _known().summary
    values = [
        summary.Value(tag=name, simple_value=value)
        for name, value in record.items()
        if name not in NO_SCALARS and type(value) in (int, float)
    ]
    return _known().event(
        wall_time=record.get("time", time.time()),
        step=record["step"],
        summary=summary(value=values),
    )


def _framed(event: Any) -> bytes:
    """Returns an event as a record of TensorFlow's format: length, its checksum, data, theirs."""
    data = event.SerializeToString()
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    return struct.pack("<I", _known().masked_crc32c(data))
