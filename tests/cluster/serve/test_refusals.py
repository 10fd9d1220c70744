"""Every bad request gets its status, and a message that says why."""

import numpy as np
import pytest

from tests.support.asking import BODY_BYTES, JSON, NPY, PNG, npy, ok

SAMPLE, SCORE = "/v1/models/photos/sample", "/v1/models/photos/log_prob"
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
    "JSON with NaN": (SCORE, b'{"x": [NaN]}', {}, 400, "expected JSON"),
    "another media type": (SAMPLE, b"{}", {"Content-Type": "text/csv"}, 415, "got text/csv"),
    "npy to sample": (SAMPLE, npy(PIXELS), {"Content-Type": NPY}, 415, f"Content-Type: {JSON}"),
    "another Accept": (SAMPLE, b"{}", {"Accept": "text/html"}, 406, "application/x-npy"),
    "a table as PNG": (TABLE, b"{}", {"Accept": PNG}, 406, "does not make pictures"),
    "scores as PNG": (SCORE, b"{}", {"Accept": PNG}, 406, "application/json or application/x-npy"),
    "unknown field": (SAMPLE, b'{"count": 1}', {}, 422, "count: unknown key"),
    "n too small": (SAMPLE, b'{"n": 0}', {}, 422, "n: Input should be greater than"),
    "n too large": (SAMPLE, b'{"n": 101}', {}, 422, "at most 100 examples of 192 values; got 101"),
    "temperature": (SAMPLE, b'{"temperature": 0}', {}, 422, "temperature: Input should be gre"),
    "unexpected context": (SAMPLE, b'{"context": 1}', {}, 422, "expects no context"),
    "no context": ("/v1/models/digits/sample", b"{}", {}, 422, "a class 0..9"),
    "x missing": (SCORE, b"{}", {}, 422, "x: missing"),
    "another shape": (SCORE, b'{"x": [[1, 2]]}', {}, 422, "(N, 3, 8, 8)"),
    "text": (SCORE, b'{"x": ["a"]}', {}, 422, "expected integers or floats"),
    "no npy": (SCORE, b"12345678901", {"Content-Type": NPY}, 400, "expected a .npy file"),
    "npy cut off": (SCORE, npy(PIXELS)[:-9], {"Content-Type": NPY}, 400, "cut off"),
    "npy with NaN": (SCORE, npy(PIXELS * np.nan), {"Content-Type": NPY}, 422, "got nan at"),
    "npy of bool": (SCORE, npy(PIXELS > 0), {"Content-Type": NPY}, 422, "got dtype bool"),
    "npy of objects": (SCORE, npy(np.array([{}])), {"Content-Type": NPY}, 422, "dtype object"),
    "not a pixel": (SCORE, npy(PIXELS - 1), {"Content-Type": NPY}, 422, "from 0 to 256"),
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
def test_a_body_too_large_is_refused(client, streamed):
    part = b" " * 65536
    body = (part for _ in range(400)) if streamed else part * 400
    response = client.post(SCORE, content=body, headers={"Content-Type": JSON})
    assert response.status_code == 413
    assert f"at most {BODY_BYTES} bytes" in response.json()["error"]["message"]
    ok(client.get("/healthz"))
