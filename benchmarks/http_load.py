"""Requests to a server at a rate of one's own choice, over plain connections that stay open."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Reply:
    """What came of a request.

    Attributes:
        status: HTTP status; 0 where the connection broke or nothing came.
        seconds: From the moment at which it was to be sent until its answer was whole.
        retry_after: Whether the answer says when to come again.
    """

    status: int
    seconds: float
    retry_after: bool = False


@dataclass
class Client:
    """A client that opens as many connections as it needs and uses them again.

    Attributes:
        host, port: Of the server.
        timeout_s: Seconds for each answer.
    """

    host: str
    port: int
    timeout_s: float = 90.0
    _idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=deque)

    async def ask(self, request: bytes, since: float | None = None) -> Reply:
        """Sends a request, head and body, and reads its answer."""
        began = time.perf_counter() if since is None else since
        try:
            async with asyncio.timeout(self.timeout_s):
                status, again = await self._ask(request)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            return Reply(0, time.perf_counter() - began)
        return Reply(status, time.perf_counter() - began, again)

    async def _ask(self, request: bytes) -> tuple[int, bool]:
        if self._idle:
            reader, writer = self._idle.pop()
        else:
            reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"\r\ntransfer-encoding: chunked" in head:  # as Ray Serve answers by itself
                await reader.readuntil(b"\r\n0\r\n\r\n")
            else:
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1]), b"\r\nretry-after:" in head

    async def at_rate(self, request: bytes, per_second: float, seconds: float) -> list[Reply]:
        """Sends requests at random moments, whatever becomes of those before, and returns all."""
        draw, tasks = random.Random(0), []
        due = began = time.perf_counter()
        while (due := due + draw.expovariate(per_second)) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.ask(request, due)))
        return list(await asyncio.gather(*tasks))

    async def in_turns(self, request: bytes, clients: int, seconds: float) -> list[Reply]:
        """Lets so many clients each send one request after the other, and returns all."""
        ends = time.perf_counter() + seconds

        async def one() -> list[Reply]:
            found = []
            while time.perf_counter() < ends:
                found.append(await self.ask(request))
            return found

        return [reply for each in await asyncio.gather(*(one() for _ in range(clients)))
                for reply in each]  # fmt: skip

    def close(self) -> None:
        """Closes what is open."""
        while self._idle:
            self._idle.pop()[1].close()


def post(path: str, body: bytes, **headers: str) -> bytes:
    """Returns a request as it goes over the wire; `_` in a header's name stands for `-`."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"{more}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
