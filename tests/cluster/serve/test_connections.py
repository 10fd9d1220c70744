"""Connections that send or read slowly are closed; others go on. A real uvicorn takes them."""

import asyncio
import contextlib
import socket

import pytest
import uvicorn

from cluster.serve import connections
from cluster.serve.connections import BoundedProtocol

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LARGE = 2**24


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "READ_SECONDS", 0.3)
    monkeypatch.setattr(BoundedProtocol, "idle", {})
    monkeypatch.setattr(BoundedProtocol, "unread", {})


async def app(scope, receive, send):
    """Answers at once, of any path but / with very much, whatever body comes."""
    body = b"ok" if scope["path"] == "/" else bytes(LARGE)
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def served():
    config = uvicorn.Config(app, http=BoundedProtocol, lifespan="off", log_config=None, port=0)
    server = uvicorn.Server(config)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        task = asyncio.create_task(server.serve([sock]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            yield sock.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await task


async def connect(port, *first):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    for part in first:
        writer.write(part)
    return reader, writer


async def closed(reader):
    """Waits until the server closes a connection."""
    with contextlib.suppress(OSError):
        while await reader.read(4096):
            pass


async def trickle(writer, byte):
    with contextlib.suppress(OSError):
        while True:
            writer.write(byte)
            await asyncio.sleep(0.05)


def run(test):
    asyncio.run(asyncio.wait_for(test, 60))


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET / HTTP/1.1\r\nX: ",
        REQUEST + b"GET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n",
    ],
    ids=["nothing", "a slow head", "a slow second head", "the rest of a body nobody reads"],
)
def test_what_comes_slowly_is_closed(first):
    async def test():
        async with served() as port:
            reader, writer = await connect(port, first)
            sending = asyncio.create_task(trickle(writer, b"x")) if first else None
            await closed(reader)
            if sending:
                sending.cancel()
            writer.close()

    run(test())


def test_a_connection_with_whole_requests_stays():
    async def test():
        async with served() as port:
            reader, writer = await connect(port)
            for _ in range(4):
                writer.write(REQUEST)
                assert b"200 OK" in await reader.readuntil(b"ok")
                await asyncio.sleep(0.2)
            writer.close()

    run(test())


def test_an_answer_that_is_not_read_is_given_up(monkeypatch):
    monkeypatch.setattr(connections, "READ_BYTES", LARGE)  # all that is left, in this time

    async def test():
        async with served() as port:
            reader, writer = await connect(port, REQUEST.replace(b"/ ", b"/large "))
            while not BoundedProtocol.unread:
                await asyncio.sleep(0.01)
            while BoundedProtocol.unread:
                await asyncio.sleep(0.01)
            await closed(reader)
            writer.close()

    run(test())


def test_an_answer_that_is_read_in_time_is_whole(monkeypatch):
    monkeypatch.setattr(connections, "READ_BYTES", 2**10)

    async def test():
        async with served() as port:
            reader, writer = await connect(port, REQUEST.replace(b"/ ", b"/large "))
            await reader.readuntil(b"\r\n\r\n")
            left = LARGE
            while left:  # some more than the least, and longer than a turn
                left -= len(await reader.readexactly(min(left, 2**19)))
                await asyncio.sleep(0.02)
            writer.close()

    run(test())


def test_answers_that_wait_to_be_read_are_bounded_together(monkeypatch):
    monkeypatch.setattr(connections, "READ_SECONDS", 100)
    monkeypatch.setattr(connections, "MAX_UNREAD_BYTES", 2 * LARGE)

    async def test():
        async with served() as port:
            large = REQUEST.replace(b"/ ", b"/large ")
            first = await connect(port, large)
            while not BoundedProtocol.unread:
                await asyncio.sleep(0.01)
            others = [await connect(port, large) for _ in range(3)]
            await closed(first[0])
            for _, writer in (first, *others):
                writer.close()

    run(test())


def test_a_head_without_end_is_not_read(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 100)

    async def test():
        async with served() as port:
            reader, writer = await connect(port, b"GET / HTTP/1.1\r\nX: ")
            with contextlib.suppress(OSError):
                for _ in range(300):
                    writer.write(b"x" * 1024)
                    await writer.drain()
            await closed(reader)
            writer.close()

    run(test())


def test_one_connection_more_takes_the_place_of_the_one_that_is_idle_longest(monkeypatch):
    monkeypatch.setattr(connections, "HEAD_SECONDS", 100)
    monkeypatch.setattr(BoundedProtocol, "max_connections", 3)

    async def test():
        async with served() as port:
            held = []
            for _ in range(3):
                held.append(await connect(port, REQUEST))
                await held[-1][0].readuntil(b"ok")
            held[0][1].write(REQUEST)  # it is used again, so the second has been idle longest
            await held[0][0].readuntil(b"ok")
            held.append(await connect(port, REQUEST))
            await held[-1][0].readuntil(b"ok")
            await closed(held[1][0])
            for reader, writer in (held[0], held[2], held[3]):
                writer.write(REQUEST)
                await reader.readuntil(b"ok")
            for _, writer in held:
                writer.close()

    run(test())
