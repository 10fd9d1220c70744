"""Connections that send or read too slowly: they are closed, so that none of them keeps a place.

uvicorn, in which Ray Serve's proxy takes connections, waits without end for the rest of a request's
head, for an answer to be read, and for the rest of a body that nobody wants any more.
"""

from __future__ import annotations

import asyncio
import resource

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0  # for a request's head to arrive, from its first byte or the connection's start
MAX_HEAD_BYTES = 2**16
READ_SECONDS = 10.0  # in which so much of an answer must be read, or all that is left of it:
READ_BYTES = 2**18
MAX_UNREAD_BYTES = 2**28  # of all answers that wait to be read
SPARE_FILES = 256  # of the open files that the process may have: for all but connections


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol of a connection, with a limit on whatever its client can make it wait for.

    A connection beyond the most takes the place of the one that has waited longest for a request.
    """

    idle: dict[BoundedProtocol, None] = {}  # noqa: RUF012  # of all connections, oldest first
    unread: dict[BoundedProtocol, None] = {}  # noqa: RUF012  # slowest first
    max_connections = max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)

    _head_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_message = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for a request's head."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections and self.idle:
            next(iter(self.idle)).transport.abort()
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads a part of a request; a head without end is not read further."""
        waiting = self._head_timer is not None
        super().data_received(data)
        if waiting and self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.abort()

    def on_message_begin(self) -> None:
        """Begins a request."""
        self._in_message = True
        if self._head_timer is None:
            self._wait_for_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Takes a request whose head is whole."""
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Ends a request that is whole, be it answered already or not."""
        self._in_message = False
        if self.cycle is not None and self.cycle.response_complete:
            self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Waits for the next request, and for the rest of this one if there is more."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch()
        elif self._in_message and not self.pipeline:
            self._wait_for_head()
        elif not self.pipeline:
            self.idle[self] = None

    def pause_writing(self) -> None:
        """Begins to watch how an answer is read."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Ends it."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_watching()

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection on which nothing comes."""
        super().timeout_keep_alive_handler()
        self._watch()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        self.idle[self] = None

    def _stop_waiting(self) -> None:
        self.idle.pop(self, None)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _watch(self) -> None:
        left = self.transport.get_write_buffer_size()
        if self._read_timer is not None or not left:
            return
        self.unread[self] = None
        total = sum(each.transport.get_write_buffer_size() for each in self.unread)
        if total > MAX_UNREAD_BYTES and len(self.unread) > 1:
            next(iter(self.unread)).transport.abort()
        self._read_timer = self.loop.call_later(READ_SECONDS, self._check, left)

    def _check(self, before: int) -> None:
        self._read_timer = None
        left = self.transport.get_write_buffer_size()
        if left > max(0, before - READ_BYTES):
            self.transport.abort()
        else:
            self._watch()

    def _stop_watching(self) -> None:
        self.unread.pop(self, None)
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
