"""The door of a service: in Ray Serve's proxy, it takes a request in once it is whole, or refuses.

A body that arrives slowly, or never, holds no place of the queue; nor does an answer that is read
slowly. What cannot be answered soon, by the cost of what waits, is refused before it is passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from typing import Any

import orjson
import uvicorn.config
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.serve.arriving import Arriving, Body, ClientGoneError
from cluster.serve.errors import ApiError, error_response
from cluster.serve.hosts import HostCheck
from cluster.serve.told import ASKED, TOLD, Told
from cluster.serve.waiting import MEMORY, Place, Waiting

CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
ENVIRONMENT = {
    CALLBACK: "cluster.serve.door.open_door",
    # On a busy machine a proxy takes longer to begin than the 5 seconds after which Ray Serve ends
    # it and has another begin, for ever.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}
TIMEOUT = "x-request-timeout-seconds"  # Ray Serve's own name; by 0 its client would have no limit
KEPT_FROM_SERVE = {TIMEOUT.encode(), b"x-request-disconnect-disabled", ASKED}
WORK = re.compile(r"/v1/models/(?P<model>[^/]+)/(?P<operation>sample|log_prob)")
SERVES_OWN = "/-/"
MAX_PARSED_BYTES = 2**16
VALUE_BYTES = 4  # of a body, for each number in it, until an answer tells


def open_door() -> list[Middleware]:
    """Returns what Ray Serve's proxy puts before its own application; called as it starts."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = "cluster.serve.connections:BoundedProtocol"
    return [Middleware(Door)]


class Door:
    """ASGI middleware of the proxy, which is one process on a node.

    Args:
        app: Ray Serve's proxy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._told = Told()
        self._arriving = Arriving()
        self._work, self._other = Waiting(), Waiting()
        self._row_bytes: dict[tuple[str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        if scope["path"].startswith(SERVES_OWN):
            return await HostCheck(self._app, self._told.hosts)(scope, receive, send)
        try:
            await self._take(scope, receive, send)
        except ApiError as error:
            await error_response(error)(scope, receive, send)
        except ClientGoneError:
            return

    async def _take(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits, headers = self._told.limits, Headers(scope=scope)
        seconds = _seconds(headers.get(TIMEOUT), limits.request_timeout_s)
        deadline = asyncio.get_running_loop().time() + seconds
        found = WORK.fullmatch(scope["path"])
        if found is None or scope["method"] != "POST":
            self._refuse(self._other, 0.0, seconds)
            with self._other.enter() as place:
                return await _Passage(self, scope, receive, send, deadline).pass_on(place)
        model, operation = found["model"], found["operation"]
        length = headers.get("content-length", "")
        size = int(length[:20]) if length.isdecimal() else 0
        kind = f"{headers.get('content-type', '')};{headers.get('content-encoding', '')}"
        key = (model, kind[:100])
        expected = self._rows(key, operation, size, b"")
        self._refuse(self._work, self._cost(model, operation, expected), seconds)
        with await self._arriving.read(receive, size, limits) as body:
            rows = self._rows(key, operation, body.size, body.data)
            cost = self._cost(model, operation, rows)
            self._refuse(self._work, cost, deadline - asyncio.get_running_loop().time())
            passage = _Passage(self, scope, receive, send, deadline, body)
            with self._work.enter(cost) as place:
                await passage.pass_on(place)
        if passage.told_rows and operation == "log_prob":
            new = body.size / passage.told_rows
            old = self._row_bytes.get(key, new)
            self._row_bytes[key] = MEMORY * old + (1 - MEMORY) * new

    def hear(self, value: bytes) -> Told:
        """Takes note of what a replica tells."""
        told = Told.decode(value)
        if told.models.keys() != self._told.models.keys():
            self._row_bytes = {k: v for k, v in self._row_bytes.items() if k[0] in told.models}
        self._told = told
        self._work.replicas = self._other.replicas = told.replicas
        return told

    def _refuse(self, waiting: Waiting, cost: float, seconds: float) -> None:
        fault = waiting.refusal(cost, self._told.limits, seconds)
        if fault is not None:
            raise fault

    def _cost(self, model: str, operation: str, rows: float) -> float:
        known = self._told.models.get(model)
        return rows * known.seconds.get(operation, 0.0) if known else 0.0

    def _rows(self, key: tuple[str, str], operation: str, size: int, body: bytes) -> float:
        """Returns about how many rows a body of a size asks for; of samples, the body says it."""
        known = self._told.models.get(key[0])
        if known is None:
            return 0.0
        if operation == "sample" and size <= MAX_PARSED_BYTES:
            rows = _asked(body) if body else 1.0
        else:
            rows = size / self._row_bytes.get(key, VALUE_BYTES * known.values)
        return min(rows, self._told.limits.max_examples)


class _Passage:
    """One request on its way to a replica and back."""

    def __init__(
        self, door: Door, scope: Scope, receive: Receive, send: Send, deadline: float,
        body: Body | None = None,
    ) -> None:  # fmt: skip
        kept = [(name, value) for name, value in scope["headers"] if name not in KEPT_FROM_SERVE]
        self._door = door
        self._scope = {**scope, "headers": [*kept, (ASKED, b"1")]}
        self._receive, self._send = receive, send
        self._deadline = deadline
        self._body = body
        self._place: Place | None = None
        self._given = self._started = self._late = False
        self.told_rows = 0

    async def pass_on(self, place: Place) -> None:
        """Has the request answered; the place is given back when the answer begins."""
        self._place = place
        await self._door._app(self._scope, self._next, self._answer)
        if self._late and not self._started:
            message = "no answer in the time that there was for it; ask for less, or later"
            raise ApiError(503, "timeout", message, {"Retry-After": "5"})

    async def _next(self) -> Message:
        if self._body is not None and not self._given:
            self._given = True
            return {"type": "http.request", "body": self._body.data, "more_body": False}
        # Serve ends a request whose client has gone: one that is too late is as if it had.
        try:
            async with asyncio.timeout_at(self._deadline):
                return await self._receive()
        except TimeoutError:
            self._late = True
            return {"type": "http.disconnect"}

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert self._place is not None
            self._place.give_back()  # the replica is done, however slowly the answer is read
            if self._body is not None:
                self._body.let_go()
            self._started = True
            message = {**message, "headers": self._heard(message)}
        await self._send(message)

    def _heard(self, message: Message) -> list[tuple[bytes, bytes]]:
        """Returns an answer's headers without what is for the door alone."""
        headers = [(name, value) for name, value in message["headers"] if name != TOLD]
        if len(headers) < len(message["headers"]):
            told = next(value for name, value in message["headers"] if name == TOLD)
            self.told_rows = self._door.hear(told).rows
        elif message["status"] == 503:  # of Serve itself, which says no more
            headers.append((b"retry-after", b"1"))
        return headers


def _seconds(value: str | None, most: float) -> float:
    """Returns the seconds that a client gives its request, at most so many."""
    if value is None:
        return most
    seconds = math.nan
    with contextlib.suppress(ValueError):
        seconds = float(value)
    if not (seconds > 0 and math.isfinite(seconds)):
        message = f"{TIMEOUT}: expected a number of seconds above 0; got {value:.40}"
        raise ApiError(400, "invalid_timeout", message)
    return min(seconds, most)


def _asked(body: bytes) -> float:
    """Returns how many samples a body asks for, 1 where it is not clear."""
    try:
        fields: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return 1.0
    n = fields.get("n", 1) if isinstance(fields, dict) else 1
    return float(n) if isinstance(n, int) and n > 0 else 1.0
