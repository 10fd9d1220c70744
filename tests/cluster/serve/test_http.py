"""Content negotiation, and .npy bodies that promise more than they hold."""

import pytest
from fastapi import Request

from cluster.serve.errors import ApiError
from cluster.serve.http import negotiate, parse_npy


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
        ("image/png, application/json; charset=utf-8", "application/json"),
        ("image/png;q=high, */*;q=0.1", "application/json"),
    ],
)
def test_the_client_chooses(accept, expected):
    assert negotiate(request(accept), ("application/json", "image/png")) == expected


def test_what_the_client_refuses_is_not_sent():
    with pytest.raises(ApiError, match="application/json or image/png; got text/html; no text"):
        negotiate(request("text/html"), ("application/json", "image/png"), "no text")


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
