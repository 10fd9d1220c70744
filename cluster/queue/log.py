"""What an attempt prints: passed on to Ray's own log, and kept in the store in pieces."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from flowkd.errors import FlowkdError
from flowkd.store import Store

SECONDS, LONGEST_PAUSE = 1.0, 10.0
PIECE_BYTES = 256 * 1024


class LogUpload:
    """Copies a file that grows to standard output and to `queue/<job>/attempts/<n>/log/`.

    Object stores cannot append: the log lies there in pieces, of which only the last is rewritten.

    Args:
        store: Where.
        job: Id of the job.
        attempt: Its number.
        path: The file.
    """

    def __init__(self, store: Store, job: str, attempt: int, path: Path) -> None:
        self._store = store
        self._folder = log_folder(job, attempt)
        self._path = path
        self._number = 1
        self._piece = b""
        self._behind = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._copy_regularly, daemon=True)

    def __enter__(self) -> LogUpload:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join()

    def _copy_regularly(self) -> None:
        with self._path.open("rb") as file:
            last = False
            while not last:
                last = self._closing.wait(SECONDS)
                while data := file.read(max(1, PIECE_BYTES - len(self._piece))):
                    sys.stdout.buffer.write(data)
                    sys.stdout.flush()
                    self._keep(data)
                if self._behind:
                    self._keep(b"")
        pause = SECONDS
        while self._behind:  # the store is away or full: the log is kept until it has it
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._keep(b"")

    def _keep(self, data: bytes) -> None:
        self._piece += data
        try:
            self._store.write(self._piece, *self._folder, f"{self._number:08}.txt")
        except (FlowkdError, OSError) as error:
            self._behind = True
            print(f"log not written, trying again: {error}", file=sys.stderr, flush=True)
            return
        self._behind = False
        if len(self._piece) >= PIECE_BYTES:
            self._number += 1
            self._piece = b""


def log_folder(job: str, attempt: int) -> tuple[str, ...]:
    """Returns where an attempt's log lies."""
    return "queue", job, "attempts", str(attempt), "log"


def read_log(store: Store, job: str, attempt: int, start: int = 0) -> Iterator[bytes]:
    """Yields what an attempt has printed, from a byte on."""
    folder = log_folder(job, attempt)
    position = 0
    for name in store.list(*folder):
        data = store.read(*folder, name)
        if position + len(data) > start:
            yield data[max(0, start - position) :]
        position += len(data)
