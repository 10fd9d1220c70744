"""What the HTTP interface does when its backend, or its client, is too slow or fails."""

import asyncio

import httpx
import pytest
from fastapi import Request

from cluster.serve.api import ApiLimits, build_api
from cluster.serve.http import ApiError, accepted, parse_npy
from cluster.serve.responses import Served
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.predict.model import Model, QueryError
from flowkd.registry.artifacts import load_artifact, publish_artifact, versions

JSON = {"Content-Type": "application/json"}
SAMPLE = "/v1/models/table/sample"


class Backend:
    """Answers with whatever `answer` does."""

    def __init__(self, models, answer):
        self.models = models
        self.answer = answer

    async def sample(self, served, job):
        return await self.answer()

    score = sample


@pytest.fixture
def served(memory_store):
    config = CouplingConfig(event_shape=(4,), mean=0.0, scale=1.0, width=8)
    publish_artifact(memory_store, "table", build_flow(config), config)
    (version,) = versions(memory_store, "table")
    artifact = load_artifact(memory_store, f"models/table@{version}")
    return Served("table", artifact, Model.of(artifact))


def ask(backend, path=SAMPLE, method="POST", content=b"{}", **limits):
    async def run():
        # What the server logs is not for the client: it must not see the exception itself.
        transport = httpx.ASGITransport(
            build_api(backend, ApiLimits(**limits)), raise_app_exceptions=False
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, content=content, headers=JSON)

    return asyncio.run(run())


async def never():
    await asyncio.sleep(60)


async def bug():
    raise KeyError("a secret")


async def not_finite():
    return QueryError("temperature: the examples are not finite")


async def slowly():
    yield b"{"
    await asyncio.sleep(60)
    yield b"}"


@pytest.mark.parametrize(
    ("answer", "status", "code", "message"),
    [
        (never, 503, "timeout", "no answer within 0.1 s"),
        (bug, 500, "internal", "see its log"),
        (not_finite, 422, "invalid_request", "not finite"),
    ],
)
def test_failures_of_the_backend(served, answer, status, code, message):
    response = ask(Backend({"table": served}, answer), seconds=0.1)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == code
    assert message in error["message"]
    assert "secret" not in response.text


def test_a_slow_body_is_given_up(served):
    response = ask(Backend({"table": served}, never), content=slowly(), seconds=0.1)
    assert response.status_code == 408
    assert "got 1 bytes" in response.json()["error"]["message"]


def test_no_model_is_not_healthy():
    response = ask(Backend({}, never), "/healthz", "GET")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"


def test_a_message_does_not_echo_the_body(served):
    content = b'{"n": "' + b"x" * 100_000 + b'"}'
    response = ask(Backend({"table": served}, never), content=content)
    assert response.status_code == 422
    assert len(response.content) < 3000


def request(accept):
    return Request({"type": "http", "headers": [(b"accept", accept.encode())]})


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("image/*", "image/png"),
        ("application/json;q=0.1, image/png;q=0.2", "image/png"),
        ("*/*, application/json;q=0", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/png;q=high, */*;q=0.1", "application/json"),
    ],
)
def test_the_client_chooses(accept, expected):
    assert accepted(request(accept), ("application/json", "image/png")) == expected


def test_what_the_client_refuses_is_not_sent():
    with pytest.raises(ApiError, match="application/json or image/png; got text/html; no text"):
        accepted(request("text/html"), ("application/json", "image/png"), "no text")


def npy(shape, descr="<f4", body=b""):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


@pytest.mark.parametrize("shape", ["(1000000, 1000000)", "(9999999999, 9999999999)", "(-1,)"])
def test_a_header_that_promises_too_much_allocates_nothing(shape):
    with pytest.raises(ApiError, match=r"cut off or too long|expected a .npy file"):
        parse_npy(npy(shape))


def test_npy_of_any_order_of_bytes_is_read():
    assert parse_npy(npy("(2,)", ">i2", b"\x00\x01\x01\x00")).tolist() == [1, 256]
