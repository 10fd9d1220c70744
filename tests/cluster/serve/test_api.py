"""Requests that are refused, limits, and a backend or a client that is too slow or fails."""

import asyncio

import httpx
import numpy as np
import pytest
import torch

from cluster.serve.api import build_api
from cluster.serve.config import ServingLimits
from cluster.serve.responses import ServedModel
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.predict.predictor import Predictor
from flowkd.predict.requests import InvalidRequestError
from flowkd.registry.artifacts import load_artifact, publish_artifact
from tests.support.serving import JSON, MAX_BODY_BYTES, NPY, PNG, npy, ok

SAMPLE, LOG_PROB = "/v1/models/photos/sample", "/v1/models/photos/log_prob"
TABLE = "/v1/models/table/sample"
PIXELS = np.zeros((2, 3, 8, 8))
REFUSALS = {
    "unknown model": (
        "/v1/models/cats/sample",
        b"{}",
        {},
        404,
        "served are: photos, digits, table",
    ),
    "unknown route": ("/v2/photos", b"{}", {}, 404, "see /docs"),
    "no JSON": (SAMPLE, b"{n: 1}", {}, 400, "expected JSON"),
    "empty body": (SAMPLE, b"", {}, 400, "got an empty one"),
    "JSON with NaN": (LOG_PROB, b'{"x": [NaN]}', {}, 400, "expected JSON"),
    "another media type": (SAMPLE, b"{}", {"Content-Type": "text/csv"}, 415, "got text/csv"),
    "npy to sample": (SAMPLE, npy(PIXELS), {"Content-Type": NPY}, 415, f"Content-Type: {JSON}"),
    "another Accept": (SAMPLE, b"{}", {"Accept": "text/html"}, 406, "application/x-npy"),
    "a table as PNG": (TABLE, b"{}", {"Accept": PNG}, 406, "does not make pictures"),
    "log_prob as PNG": (
        LOG_PROB,
        b"{}",
        {"Accept": PNG},
        406,
        "application/json or application/x-npy",
    ),
    "unknown field": (SAMPLE, b'{"count": 1}', {}, 422, "count: unknown key"),
    "n too small": (SAMPLE, b'{"n": 0}', {}, 422, "n: Input should be greater than"),
    "n too large": (SAMPLE, b'{"n": 101}', {}, 422, "at most 100 examples of 192 values; got 101"),
    "temperature": (SAMPLE, b'{"temperature": 0}', {}, 422, "temperature: Input should be gre"),
    "unexpected context": (SAMPLE, b'{"context": 1}', {}, 422, "expects no context"),
    "no context": ("/v1/models/digits/sample", b"{}", {}, 422, "a class 0..9"),
    "x missing": (LOG_PROB, b"{}", {}, 422, "x: missing"),
    "another shape": (LOG_PROB, b'{"x": [[1, 2]]}', {}, 422, "(N, 3, 8, 8)"),
    "text": (LOG_PROB, b'{"x": ["a"]}', {}, 422, "expected integers or floats"),
    "no npy": (LOG_PROB, b"12345678901", {"Content-Type": NPY}, 400, "expected a .npy file"),
    "npy cut off": (LOG_PROB, npy(PIXELS)[:-9], {"Content-Type": NPY}, 400, "cut off"),
    "npy with NaN": (LOG_PROB, npy(PIXELS * np.nan), {"Content-Type": NPY}, 422, "got nan at"),
    "npy of bool": (LOG_PROB, npy(PIXELS > 0), {"Content-Type": NPY}, 422, "got dtype bool"),
    "npy of objects": (LOG_PROB, npy(np.array([{}])), {"Content-Type": NPY}, 422, "dtype object"),
    "not a pixel": (LOG_PROB, npy(PIXELS - 1), {"Content-Type": NPY}, 422, "from 0 to 256"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_why(client, case):
    path, body, headers, status, message = REFUSALS[case]
    response = client.post(path, content=body, headers={"Content-Type": JSON, **headers})
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    assert message in error["message"]


def test_other_methods_are_refused(client):
    response = client.get(SAMPLE)
    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_too_large_is_refused_by_ray_serve(ray_client, streamed):
    part = b" " * 65536
    body = (part for _ in range(400)) if streamed else part * 400
    response = ray_client.post(LOG_PROB, content=body, headers={"Content-Type": JSON})
    assert response.status_code == 413
    assert f"at most {MAX_BODY_BYTES} bytes" in response.json()["error"]["message"]
    ok(ray_client.get("/healthz"))


class Backend:
    """Answers every request with what `answer` returns."""

    def __init__(self, models, answer):
        self.models = models
        self.answer = answer

    async def sample(self, model, inputs):
        return await self.answer()


@pytest.fixture
def table(memory_store):
    config = CouplingConfig(event_shape=(4,), mean=0.0, scale=1.0, width=8)
    version = publish_artifact(memory_store, "table", build_flow(config), config)
    artifact = load_artifact(memory_store, f"models/table@{version}")
    return {"table": ServedModel("table", artifact, Predictor.from_artifact(artifact))}


def client_of(backend, **limits):
    # What the server logs is not for the client: it must not see the exception itself.
    transport = httpx.ASGITransport(
        build_api(backend, ServingLimits(**limits)), raise_app_exceptions=False
    )
    return httpx.AsyncClient(
        transport=transport, base_url="http://localhost", headers={"Content-Type": JSON}
    )


def ask(backend, path=TABLE, method="POST", content=b"{}", headers=None, **limits):
    async def run():
        async with client_of(backend, **limits) as client:
            return await client.request(method, path, content=content, headers=headers)

    return asyncio.run(run())


async def never():
    await asyncio.Event().wait()


async def bug():
    raise KeyError("a secret")


async def not_finite():
    return InvalidRequestError("temperature: the examples are not finite")


@pytest.mark.parametrize(
    ("answer", "status", "code", "message"),
    [
        (never, 503, "timeout", "no answer within 0.1 s"),
        (bug, 500, "internal", "see its log"),
        (not_finite, 422, "invalid_request", "not finite"),
    ],
)
def test_failures_of_the_backend(table, answer, status, code, message):
    response = ask(Backend(table, answer), request_timeout_s=0.1)
    assert response.status_code == status
    error = response.json()["error"]
    assert error["code"] == code
    assert message in error["message"]
    assert "secret" not in response.text


def test_requests_beyond_the_limit_are_refused_until_others_are_answered(table):
    async def run():
        answered = asyncio.Event()

        async def wait():
            await answered.wait()
            return torch.zeros(1, 4)

        backend = Backend(table, wait)
        async with client_of(backend, max_ongoing_requests=2, request_timeout_s=60) as client:
            ongoing = [asyncio.create_task(client.post(TABLE, content=b"{}")) for _ in range(2)]
            await asyncio.sleep(0)  # both are admitted
            refused = await client.post(TABLE, content=b"{}")
            answered.set()
            return (
                refused,
                [await each for each in ongoing],
                await client.post(TABLE, content=b"{}"),
            )

    refused, accepted, later = asyncio.run(run())
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert refused.headers["retry-after"] == "1"
    for response in (*accepted, later):
        ok(response)


def test_a_body_too_large_is_not_read(table):
    """Neither past the limit, nor at all where its length tells."""
    parts = []

    async def body():
        for _ in range(100):
            parts.append(b" " * 10)
            yield parts[-1]

    for headers, most in ({}, 3), ({"Content-Length": "1000"}, 0):
        parts.clear()
        response = ask(Backend(table, never), content=body(), headers=headers, max_body_bytes=20)
        assert response.status_code == 413
        assert len(parts) == most


def test_a_slow_body_is_given_up(table):
    async def slowly():
        yield b"{"
        await never()

    response = ask(Backend(table, never), content=slowly(), request_timeout_s=0.1)
    assert response.status_code == 408
    assert "got 1 bytes" in response.json()["error"]["message"]


def test_no_model_is_not_healthy():
    response = ask(Backend({}, never), "/healthz", "GET")
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "not_ready"


def test_a_message_does_not_echo_the_body(table):
    content = b'{"n": "' + b"x" * 100_000 + b'"}'
    response = ask(Backend(table, never), content=content)
    assert response.status_code == 422
    assert len(response.content) < 3000
