"""Bodies that arrive at the door: each is held until it is whole, all of them within a limit."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Receive

from cluster.serve.config import ServingLimits
from cluster.serve.errors import ApiError
from cluster.serve.http import too_large

MAX_HELD_BYTES = 2**28


class ClientGoneError(Exception):
    """A client that has closed its connection: nobody waits for an answer."""


class Arriving:
    """The bodies that a process holds.

    Where there would be too many bytes, the body of which nothing has come for longest is given up.

    Args:
        max_bytes: The most that is held.
    """

    def __init__(self, max_bytes: int = MAX_HELD_BYTES) -> None:
        self.max_bytes = max_bytes
        self.held = 0
        self._ends: dict[asyncio.Timeout, None] = {}  # of bodies to come, the stalest first

    async def read(self, receive: Receive, size: int, limits: ServingLimits) -> Body:
        """Returns a body once it is whole.

        Args:
            receive: Of the request.
            size: Its size in bytes, as the request says it; 0 if it does not.
            limits: `max_body_bytes` and `request_timeout_s`.

        Raises:
            ApiError: 413, it is too large; 408, it is too slow; 503, there are too many.
            ClientGoneError: The client has gone.
        """
        if size > limits.max_body_bytes:
            raise too_large(limits.max_body_bytes)
        body, ends = Body(self), None
        try:
            async with asyncio.timeout(limits.request_timeout_s) as ends:
                more = True
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGoneError
                    more = message.get("more_body", False)
                    self._ends.pop(ends, None)
                    self._ends[ends] = None
                    self._make_room(ends, len(message["body"]))
                    body.add(message["body"])
                    if body.size > limits.max_body_bytes:
                        raise too_large(limits.max_body_bytes)
        except TimeoutError as error:
            body.let_go()
            text = (
                f"expected the whole body within {limits.request_timeout_s:g} s, or sooner where "
                f"many arrive; got {body.size} bytes"
            )
            raise ApiError(408, "body_too_slow", text) from error
        except BaseException:
            body.let_go()
            raise
        finally:
            if ends is not None:
                self._ends.pop(ends, None)
        return body

    def _make_room(self, own: asyncio.Timeout, size: int) -> None:
        if self.held + size <= self.max_bytes:
            return
        stalest = next(iter(self._ends))
        if stalest is own:
            message = "too many bodies are held by now; try again later"
            raise ApiError(503, "overloaded", message, {"Retry-After": "1"})
        del self._ends[stalest]
        stalest.reschedule(0)


class Body:
    """A body, held for as long as its context lasts.

    Attributes:
        size: Its bytes, or how many have come by now.
    """

    def __init__(self, arriving: Arriving) -> None:
        self._arriving = arriving
        self._parts: list[bytes] = []
        self.size = 0

    @property
    def data(self) -> bytes:
        """The whole of it."""
        if len(self._parts) != 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0]

    def add(self, part: bytes) -> None:
        """Takes a part of it."""
        self._parts.append(part)
        self.size += len(part)
        self._arriving.held += len(part)

    def let_go(self) -> None:
        """Holds it no longer."""
        self._arriving.held -= self.size if self._parts else 0
        self._parts = []

    def __enter__(self) -> Body:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.let_go()
