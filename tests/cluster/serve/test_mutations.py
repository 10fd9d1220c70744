"""Requests that were damaged in many ways: each is answered, or refused with the usual error.

Seeded: `FLOWKD_MUTATIONS=100000 pytest tests/cluster/serve/test_mutations.py` tries more of them.
"""

import asyncio
import gzip
import json
import os
import random
import re

import httpx
import numpy as np
import orjson
import pytest

from cluster.serve.api import build_api
from cluster.serve.config import ServingLimits
from cluster.serve.media import JSON, NPY, PNG, TABLES
from cluster.serve.tables import write_table
from tests.support.api import DirectBackend
from tests.support.serving import npy

COUNT = int(os.environ.get("FLOWKD_MUTATIONS", "1500"))
LIMITS = ServingLimits(max_examples=8, max_body_bytes=6000)
NAMES = ["ra", "dec", "the, flux", "z"]
X = np.random.default_rng(0).normal(size=(5, 4))
CONTEXT = np.random.default_rng(1).normal(size=(5, 2))
TABLE = {
    **dict(zip(NAMES, X.T, strict=True)),
    **dict(zip(["energy", "angle"], CONTEXT.T, strict=True)),
}
BODIES = {
    JSON: orjson.dumps({"x": X.tolist(), "context": CONTEXT.tolist(), "seed": 1}),
    NPY: npy(X),
    **{each: write_table(TABLE, each) for each in TABLES},
}
ROWS = orjson.dumps(
    {
        "x": [dict(zip(NAMES, row, strict=True)) for row in X.tolist()],
        "context": {"energy": 1.5, "angle": 0},
    }
)
VALUES = (
    b"true", b"null", b"NaN", b"1e400", b"-0", b"1" * 400, b'"a"', b"[]", b"{}", b"[[1]]",
    b'{"ra":1}', b"9223372036854775808", b'"\\ud800"', b"\xff", b"\x00", b"\r\n", b",", b'"',
)  # fmt: skip
NUMBERS = ("seed", "n", "temperature", "context", "x", "count")
QUERIES = (
    "", "", "", "?context=[1,2]", "?seed=1", "?seed=1&seed=2", "?context=[1,2", "?x=1",
    "?%ff=%00", '?context={"energy":1,"angle":2}', "?n=true", "?seed=" + "9" * 300,
)  # fmt: skip
PATHS = (
    "/v1/models/stars/log_prob", "/v1/models/stars/sample", "/v1/models/kinds/log_prob",
    "/v1/models/kinds/sample", "/v1/models/plain/log_prob", "/v1/models/plain/sample",
    "/v1/models/photos/log_prob", "/v1/models/photos/sample", "/v1/models/stars", "/v1/models",
    "/healthz", "/openapi.json", "/docs", "/v1/models/%ff/sample", "/",
)  # fmt: skip
METHODS = ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW")
ACCEPTS = (
    JSON, NPY, PNG, *TABLES, "*/*", "*", "", ";", "text/*;q=0.5, */*;q=0", "a/b;q=x", '"', ",,,",
    "application/json;q=0.0001", "text/csv; charset=latin-1", "\xff",
)  # fmt: skip
CONTENT_TYPES = (
    *BODIES, *BODIES, "", "text/plain", f"{JSON}; charset=utf-16", f"{JSON}, {NPY}", "\xff;=",
)  # fmt: skip
ENCODINGS = ("identity", "gzip", "deflate", "br", "gzip, gzip", "x-gzip", "\xff")


def damaged(body, chance):
    """A body that is cut off, repeated, or has bytes replaced by others or by hostile values."""
    body = bytearray(body)
    for _ in range(chance.choice((1, 1, 2, 5))):
        start = chance.randrange(len(body) + 1)
        end = min(len(body), start + chance.choice((0, 1, 1, 4, 8, 40)))
        how = chance.randrange(6)
        if how == 0:
            del body[start:]
        elif how == 1:
            body[start:end] = chance.randbytes(end - start)
        elif how == 2:
            body[start:end] = chance.choice(VALUES)
        elif how == 3:
            body[start:end] = body[:40]
        elif how == 4:
            del body[start:end]
        else:
            body += body[:100] * chance.choice((1, 10, 100))
    return bytes(body)


def fields(chance):
    """A JSON body of fields that exist, with values that may be anything."""
    chosen = chance.sample(NUMBERS, chance.randrange(4))
    return b"{%s}" % b",".join(
        b'"%s":%s' % (name.encode(), chance.choice((*VALUES, b"3", b"0.5", b"[1,2]")))
        for name in chosen
    )


def mutated(chance):
    """A request: method, path, headers and body."""
    media_type = chance.choice(list(BODIES))
    body = chance.choice((BODIES[media_type], ROWS)) if media_type == JSON else BODIES[media_type]
    if chance.random() < 0.2:
        media_type, body = JSON, fields(chance)
    if chance.random() < 0.7:
        body = damaged(body, chance)
    headers = {"Content-Type": media_type}
    if chance.random() < 0.15:
        headers["Content-Type"] = chance.choice(CONTENT_TYPES)
    if chance.random() < 0.3:
        headers["Accept"] = chance.choice(ACCEPTS)
    if chance.random() < 0.2:
        headers["Content-Encoding"] = chance.choice(ENCODINGS)
        body = gzip.compress(body, mtime=0) if chance.random() < 0.7 else body
    if chance.random() < 0.05:
        headers["Content-Length"] = chance.choice(("0", "-1", "x", "9" * 5000, "\xb2"))
    method = "POST" if chance.random() < 0.9 else chance.choice(METHODS)
    path = PATHS[0] if chance.random() < 0.5 else chance.choice(PATHS)
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    return method, path + chance.choice(QUERIES), raw, body


def check(request, response):
    """Never a bug, always the shape of an error, always within limits."""
    status = response.status_code
    assert status < 500, (request, response.text)
    if request[0] == "HEAD":
        assert not response.content
        return status
    if status >= 400:
        error = response.json()["error"]
        assert set(error) == {"code", "message"}
        assert all(isinstance(value, str) and value for value in error.values())
        assert len(response.content) < 3 * 2100
        text = error["message"].replace("\n", "")
        assert not re.search(r"0x[0-9a-f]{6}|Traceback|https?://", text), error
        assert text.isprintable(), error
    elif response.headers["content-type"] == JSON and "seed" in (answer := response.json()):
        count = len(answer.get("samples") or answer["log_prob"])
        assert 1 <= count <= LIMITS.max_examples
        assert "NaN" not in response.text
    return status


@pytest.mark.parametrize("seed", range(4))
def test_damaged_requests_are_answered_or_refused(tables, seed):
    async def run():
        api = build_api(DirectBackend(tables), LIMITS)
        transport = httpx.ASGITransport(api, raise_app_exceptions=False)
        statuses = []
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            chance = random.Random(seed)
            for _ in range(COUNT // 4):
                method, path, headers, body = request = mutated(chance)
                sent = httpx.Request(
                    method, f"http://localhost{path}", headers=headers, content=body
                )
                statuses.append(check(request, await client.send(sent)))
        return statuses

    statuses = asyncio.run(run())
    # The mutations reach every kind of answer, or they would show nothing.
    assert {200, 400, 404, 405, 406, 413, 415, 422} <= set(statuses), json.dumps(statuses)
