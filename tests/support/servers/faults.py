"""A proxy between client and S3 server that makes requests fail, as networks and servers do."""

from __future__ import annotations

import http.client
import socket
import struct
import sys
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# What a server answers that refuses, by the name that a test asks for.
ANSWERS = {
    "internal error": (500, "InternalError"),
    "unavailable": (503, "ServiceUnavailable"),
    "slow down": (503, "SlowDown"),
    "expired": (400, "ExpiredToken"),
    "denied": (403, "AccessDenied"),
    "invalid": (400, "InvalidRequest"),
    "conflict": (409, "ConditionalRequestConflict"),
    "not implemented": (501, "NotImplemented"),
    "full": (507, "InsufficientStorage"),
}
# What happens to the connection instead of an answer, or to a part of it. `lost answer`: the
# server did what it was asked to, and the client does not learn of it.
BREAKS = ("reset", "truncate", "delay", "lost answer")
FAULTS = (*ANSWERS, *BREAKS, "pass")  # the last lets one request through

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class FaultProxy:
    """Passes requests on to a server on loopback, but for those that a test lets fail.

    A context manager. Host headers pass unchanged, so that signatures stay valid.

    Args:
        endpoint: Of the server, `http://127.0.0.1:PORT`.
        delay: Seconds that the fault `delay` waits before it passes a request on.
    """

    def __init__(self, endpoint: str, delay: float = 1.0) -> None:
        self.target = urlsplit(endpoint).netloc
        self.delay = delay
        self.requests: list[str] = []
        self._faults: deque[str] = deque()
        self._only = ""
        self._until = 0.0
        self._always = ""
        self._method = ""
        self._held = ""
        self._released = threading.Event()
        self.holding = threading.Event()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Keeps quiet."""

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(self, *faults: str, only: str = "") -> None:
        """Lets the next requests, or those of one method only, fail, one each; "" lets one pass."""
        assert set(faults) <= {"", *FAULTS}, faults
        self._faults.extend(faults)
        self._only = only

    def fail_for(self, seconds: float, fault: str, only: str = "") -> None:
        """Lets all requests of some seconds fail, or those of one method only."""
        assert fault in FAULTS, fault
        self._until, self._always, self._method = time.monotonic() + seconds, fault, only

    @property
    def failing(self) -> bool:
        """Whether the time of `fail_for` has not passed yet."""
        return time.monotonic() < self._until

    def hold(self, part: str) -> None:
        """Lets requests that would write what has `part` in its path wait until `release`.

        `holding` is set as soon as one does.
        """
        self._released.clear()
        self.holding.clear()
        self._held = part

    def release(self) -> None:
        """Lets held requests go on."""
        self._held = ""
        self._released.set()

    def reset(self) -> None:
        """Lets all requests pass again."""
        self.release()
        self._faults.clear()
        self._only = ""
        self._until = 0.0
        self.requests.clear()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answers a request, or lets it fail."""
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if self._held and request.command in ("PUT", "POST") and self._held in request.path:
            self.holding.set()
            self._released.wait()
        chosen = self.failing and self._method in ("", request.command)
        fault = self._always if chosen else ""
        if not fault and self._faults and self._only in ("", request.command):
            fault = self._faults.popleft()
        fault = fault or "pass"
        self.requests.append(f"{request.command} {fault.replace('pass', 'passed')}")
        if fault in ANSWERS:
            status, code = ANSWERS[fault]
            text = f"<Error><Code>{code}</Code><Message>a fault</Message></Error>"
            _send(request, status, {"Content-Type": "application/xml"}, text.encode())
            return
        if fault == "reset":
            _reset(request)
            return
        if fault == "delay":
            time.sleep(self.delay)
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
            headers["Content-Length"] = str(len(body))
            connection.request(request.command, request.path, body, headers)
            response = connection.getresponse()
            data = response.read()
            kept = {k: v for k, v in response.getheaders() if k.lower() not in HOP_BY_HOP}
            length = response.getheader("Content-Length", str(len(data)))
            if fault == "lost answer":
                _reset(request)
            elif fault == "truncate" and len(data) > 1:
                _send(request, response.status, kept, data[: len(data) // 2], str(len(data)))
                _reset(request)
            else:
                _send(request, response.status, kept, data, length)
        finally:
            connection.close()


class _QuietServer(ThreadingHTTPServer):
    """A server that says nothing of clients that are killed in the middle of a request."""

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _send(
    request: BaseHTTPRequestHandler,
    status: int,
    headers: dict[str, str],
    body: bytes,
    length: str | None = None,
) -> None:
    head = request.command == "HEAD"
    request.send_response_only(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.send_header("Content-Length", length or str(len(body)))
    request.end_headers()
    if not head:
        request.wfile.write(body)
    request.wfile.flush()


def _reset(request: BaseHTTPRequestHandler) -> None:
    """Ends the connection as a crash does: with a reset, not a farewell."""
    linger = struct.pack("ii", 1, 0)
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    request.connection.close()
    request.close_connection = True
