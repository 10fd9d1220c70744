"""Bodies: decoded within limits; .npy that promise more than they hold; HEAD as GET."""

import gzip
import tracemalloc
import zlib

import pytest

from cluster.serve.errors import ApiError
from cluster.serve.http import decode_body, parse_npy
from cluster.serve.media import CSV, JSON
from tests.support.api import ask
from tests.support.serving import ok, post


def npy(shape, descr="<f4", body=b""):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header = header.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + body


@pytest.mark.parametrize("shape", ["(1000000, 1000000)", "(9999999999, 9999999999)", "(-1,)"])
def test_a_header_that_promises_too_much_allocates_nothing(shape):
    with pytest.raises(ApiError, match=r"cut off or too long|expected a .npy file"):
        parse_npy(npy(shape))


def test_a_faulty_header_is_told_without_an_address_in_memory():
    with pytest.raises(ApiError, match=r"malformed node or string on line 1$"):
        parse_npy(npy("(two,)"))


def test_npy_of_any_order_of_bytes_is_read():
    assert parse_npy(npy("(2,)", ">i2", b"\x00\x01\x01\x00")).tolist() == [1, 256]


BODY = b'{"n": 1}' * 100
ENCODED = {"gzip": gzip.compress(BODY, mtime=0), "deflate": zlib.compress(BODY)}


@pytest.mark.parametrize("encoding", ENCODED)
def test_an_encoded_body_is_decoded(encoding):
    assert decode_body(ENCODED[encoding], encoding, len(BODY)) == BODY
    assert decode_body(BODY, "", 1) == BODY
    with pytest.raises(ApiError, match="at most 799 bytes once it is decompressed") as error:
        decode_body(ENCODED[encoding], encoding, len(BODY) - 1)
    assert error.value.status == 413


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (BODY, "encoded as gzip: Error"),
        (ENCODED["gzip"][:-9], "cut off"),
        (ENCODED["gzip"] + b"more", "bytes follow its end"),
    ],
)
def test_a_body_that_is_encoded_otherwise_is_refused(body, message):
    with pytest.raises(ApiError, match=message) as error:
        decode_body(body, "gzip", 10_000)
    assert error.value.status == 400


def test_a_bomb_takes_no_more_memory_than_the_limit():
    bomb = gzip.compress(bytes(64 * 2**20), mtime=0)
    tracemalloc.start()
    try:
        with pytest.raises(ApiError, match="once it is decompressed"):
            decode_body(bomb, "gzip", 1000)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", ["/healthz", "/v1/models", "/docs", "/openapi.json", "/nothing"])
def test_head_is_get_without_the_body(tables, path):
    got, head = (ask(tables, method, path) for method in ("GET", "HEAD"))
    assert head.status_code == got.status_code
    assert head.headers == got.headers
    assert got.content
    assert not head.content


def test_proxies_pass_head_and_encoded_bodies_on(ray_client):
    head = ray_client.head("/v1/models/table")
    assert head.status_code == 200
    assert not head.content
    assert head.headers["content-type"] == JSON
    body = gzip.compress(b"x4,x3,x2,x1,x0\n5,4,3,2,1\n", mtime=0)
    headers = {"Content-Type": CSV, "Content-Encoding": "gzip", "Accept": CSV}
    answer = ok(ray_client.post("/v1/models/table/log_prob", content=body, headers=headers)).text
    plain = {"x": [[1, 2, 3, 4, 5]]}
    expected = ok(post(ray_client, "table", plain, operation="log_prob")).json()["log_prob"]
    assert answer.split() == ["log_prob", str(expected[0])]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/models/stars/sample", "POST"),
        ("HEAD", "/v1/models/stars/log_prob", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/stars", "GET, HEAD"),
    ],
)
def test_other_methods_are_told_which_are_allowed(tables, method, path, allowed):
    response = ask(tables, method, path)
    assert response.status_code == 405
    assert response.headers["allow"] == allowed
