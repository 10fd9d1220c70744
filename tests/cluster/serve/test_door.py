"""The door before a service, with an application in a replica's place that waits to be let go."""

import asyncio

import pytest
import uvicorn

from cluster.serve.arriving import Arriving, ClientGoneError
from cluster.serve.config import ServingLimits
from cluster.serve.connections import BoundedProtocol
from cluster.serve.door import Door, open_door
from cluster.serve.errors import ApiError
from cluster.serve.told import TOLD, Told, ToldModel

SAMPLE, LOG_PROB = "/v1/models/a/sample", "/v1/models/a/log_prob"


class Replica:
    """Answers when it is told to; keeps what it was asked.

    Args:
        told: What it tells the door.
    """

    def __init__(self, told):
        self.told = told
        self.seen = []
        self.gone = 0
        self.answering = asyncio.Event()

    async def __call__(self, scope, receive, send):
        message = await receive()
        self.seen.append((dict(scope["headers"]), message["body"]))
        waits = [asyncio.ensure_future(each) for each in (receive(), self.answering.wait())]
        done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        if waits[0] in done:
            self.gone += 1
            return
        headers = [(b"content-length", b"2"), (TOLD, self.told.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


class Request:
    """A request by ASGI whose body and end come when the test says so."""

    def __init__(self, door, path=SAMPLE, method="POST", **headers):
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [
                (name.replace("_", "-").encode(), value.encode())
                for name, value in {"host": "localhost", **headers}.items()
            ],
        }
        self.coming, self.messages = asyncio.Queue(), []
        self.task = asyncio.create_task(door(self.scope, self.coming.get, self.send))

    async def send(self, message):
        self.messages.append(message)

    def body(self, data, more=False):
        self.coming.put_nowait({"type": "http.request", "body": data, "more_body": more})
        return self

    def leave(self):
        self.coming.put_nowait({"type": "http.disconnect"})

    async def status(self):
        await self.task
        return self.messages[0]["status"] if self.messages else None

    def headers(self):
        return dict(self.messages[0]["headers"])


def told(**limits):
    return Told(
        ServingLimits(**limits), models={"a": ToldModel(10, {"sample": 0.1, "log_prob": 0.1})}
    )


def behind(test, known=True, **limits):
    """Runs a test with a door, that has heard of its replica or not, and the replica."""

    async def run():
        replica = Replica(told(**limits))
        door = Door(replica)
        if known:
            door.hear(replica.told.encode())
        await asyncio.wait_for(test(door, replica), 60)

    asyncio.run(run())


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_body_that_is_not_whole_is_not_passed_on_and_holds_no_place():
    async def test(door, replica):
        slow = [Request(door).body(b'{"n"', more=True) for _ in range(50)]
        await settle()
        assert not replica.seen
        replica.answering.set()
        assert await Request(door).body(b"{}").status() == 200
        assert len(replica.seen) == 1
        slow[0].body(b": 3}")
        assert await slow[0].status() == 200
        assert replica.seen[1][1] == b'{"n": 3}'
        for each in slow[1:]:
            each.leave()
            assert await each.status() is None
        assert door._arriving.held == 0

    behind(test, max_ongoing_requests=1)


def test_requests_wait_by_what_their_rows_cost():
    async def test(door, replica):
        first = Request(door).body(b'{"n": 30}')  # 3 s
        await settle()
        for path, body in (SAMPLE, b"{}"), (LOG_PROB, b"[1]"):
            refused = Request(door, path).body(body)
            assert await refused.status() == 503
            assert refused.headers()[b"retry-after"] == b"3"
            assert b"about 3 s" in refused.messages[1]["body"]
        replica.answering.set()
        assert await first.status() == 200
        assert await Request(door).body(b"{}").status() == 200

    behind(test, max_wait_s=2)


def test_a_body_that_is_refused_by_its_length_is_not_read():
    async def test(door, replica):
        assert await Request(door, content_length="1001").status() == 413
        Request(door).body(b'{"n": 10}')
        await settle()
        late = Request(door, LOG_PROB, content_length="800", x_request_timeout_seconds="2")
        assert await late.status() == 503  # 20 rows of 10 values of 4 bytes
        assert b"too_late" in late.messages[1]["body"]
        assert len(replica.seen) == 1

    behind(test, max_body_bytes=1000, max_wait_s=9)


def test_what_an_answer_tells_is_learnt_and_not_shown():
    async def test(door, replica):
        replica.answering.set()
        given = {"x_request_timeout_seconds": "5", "x_request_disconnect_disabled": "?1"}
        request = Request(door, **given).body(b"{}")
        assert await request.status() == 200
        assert TOLD not in request.headers()
        asked, _ = replica.seen[0]
        assert asked[b"x-flowkd-door"] == b"1"
        assert not {name.replace("_", "-").encode() for name in given} & asked.keys()
        assert door._told == replica.told

    behind(test, known=False, max_wait_s=3)


def test_the_bytes_of_a_row_are_learnt():
    async def test(door, replica):
        replica.answering.set()
        object.__setattr__(replica.told, "rows", 2)
        assert await Request(door, LOG_PROB).body(b"x" * 100).status() == 200
        replica.answering.clear()
        first = Request(door, LOG_PROB).body(b"x" * 1000)  # 20 rows of 50 bytes, 2 s
        await settle()
        assert door._work.seconds == pytest.approx(2.0)
        replica.answering.set()
        assert await first.status() == 200

    behind(test)


@pytest.mark.parametrize("leaves", [True, False], ids=["a client that goes", "a late answer"])
def test_nobody_computes_what_nobody_waits_for(leaves):
    async def test(door, replica):
        given = {} if leaves else {"x_request_timeout_seconds": "0.05"}
        request = Request(door, **given).body(b"{}")
        await settle()
        if leaves:
            request.leave()
        assert await request.status() == (None if leaves else 503)
        assert replica.gone == 1
        assert (door._work.count, door._work.seconds, door._arriving.held) == (0, 0, 0)

    behind(test)


def test_a_slow_reader_holds_no_place():
    async def test(door, replica):
        read = asyncio.Event()

        async def send(message):
            if message["type"] == "http.response.body":
                await read.wait()

        slow = Request(door).body(b"{}")
        slow.send = send
        slow.task.cancel()
        slow.task = asyncio.create_task(door(slow.scope, slow.coming.get, send))
        replica.answering.set()
        await settle()
        assert not slow.task.done()
        assert await Request(door).body(b"{}").status() == 200
        read.set()
        await slow.task

    behind(test, max_ongoing_requests=1)


def test_a_wrong_timeout_is_refused():
    async def test(door, replica):
        for value in ("0", "-1", "soon", "nan", "inf"):
            request = Request(door, x_request_timeout_seconds=value)
            assert await request.status() == 400, value
            assert value.encode() in request.messages[1]["body"]

    behind(test)


def test_no_web_page_reads_what_ray_serve_tells_of_itself():
    async def test(door, replica):
        replica.answering.set()
        for path in ("/-/routes", "/-/healthz"):
            for headers, status in (
                ({"host": "evil.example"}, 421),
                ({"origin": "https://evil.example"}, 403),
                ({"host": "127.0.0.1:8000"}, 200),
            ):
                request = Request(door, path, "GET", **headers).body(b"")
                assert await request.status() == status, (path, headers)

    behind(test)


def test_the_stalest_body_makes_room_for_others():
    async def test():
        arriving, limits = Arriving(max_bytes=100), ServingLimits()
        queues = [asyncio.Queue() for _ in range(3)]
        reads = [asyncio.create_task(arriving.read(q.get, 0, limits)) for q in queues]
        for queue in queues[:2]:
            queue.put_nowait({"body": b"x" * 50, "more_body": True, "type": "http.request"})
            await settle()
        queues[2].put_nowait({"body": b"x" * 20, "more_body": False, "type": "http.request"})
        with await reads[2] as body:
            assert (body.size, len(body.data)) == (20, 20)
            with pytest.raises(ApiError, match="or sooner where many arrive"):
                await reads[0]
            assert arriving.held == 70
        queues[1].put_nowait({"type": "http.disconnect"})
        with pytest.raises(ClientGoneError):
            await reads[1]
        assert arriving.held == 0

    asyncio.run(asyncio.wait_for(test(), 60))


def test_ray_serve_puts_it_before_its_own(monkeypatch):
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "")
    (middleware,) = open_door()
    assert middleware.cls is Door
    config = uvicorn.Config(Door)
    config.load()
    assert config.http_protocol_class is BoundedProtocol
