"""The log of an attempt: copied to Ray's log and, in segments, to the store, and read there."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cluster.queue.records import QUEUE
from flowkd.errors import FlowkdError
from flowkd.store.append_log import AppendLog
from flowkd.store.store import Store

UPLOAD_SECONDS, MAX_BACKOFF = 1.0, 10.0


class LogUpload:
    """Copies a file that grows to standard output and to `queue/<job>/attempts/<n>/log/`.

    While the store is away or full, the file waits; the block is left once all of it is there.

    Args:
        store: Where the log is kept.
        job: Id of the job.
        attempt: Number of the attempt, from 1.
        path: The file that grows.
    """

    def __init__(self, store: Store, job: str, attempt: int, path: Path) -> None:
        self._segments = AppendLog(store, log_folder(job, attempt), ".txt")
        self._path = path
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._copy_regularly, daemon=True)

    def __enter__(self) -> LogUpload:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def _copy_regularly(self) -> None:
        data, backoff = b"", UPLOAD_SECONDS
        with self._path.open("rb") as file:
            while True:
                closing = self._closing.wait(UPLOAD_SECONDS)
                try:
                    while data := data or self._next(file):
                        self._segments.append(data)
                        data = b""
                    if closing:
                        return
                except (FlowkdError, OSError) as error:
                    print(f"log not written, trying again: {error}", file=sys.stderr, flush=True)
                    if closing:
                        time.sleep(backoff)
                        backoff = min(2 * backoff, MAX_BACKOFF)

    def _next(self, file: IO[bytes]) -> bytes:
        data = file.read(self._segments.free_bytes)
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return data


def log_folder(job: str, attempt: int, folder: str = QUEUE) -> tuple[str, ...]:
    """Returns the path of the folder of an attempt's log in the store."""
    return folder, job, "attempts", str(attempt), "log"


def read_job_log(
    store: Store, job: str, attempt: int, start: int = 0, within: str = QUEUE
) -> Iterator[bytes]:
    """Yields what an attempt has printed, segment by segment, from the byte `start` on.

    Args:
        store: Where the log is.
        job: Id of the job.
        attempt: Number of the attempt, from 1.
        start: First byte; default 0.
        within: The folder that the job is in; default that of the queue, not of its archive.
    """
    folder = log_folder(job, attempt, within)
    position = 0
    for name in store.list(*folder):
        data = store.read(*folder, name)
        if position + len(data) > start:
            yield data[max(0, start - position) :]
        position += len(data)
