"""Content negotiation, and the media types and encodings of bodies."""

import pytest
from fastapi import Request

from cluster.serve.errors import ApiError
from cluster.serve.media import CSV, JSON, NPY, content_encoding, content_type, negotiate


def request(*accept, name="accept"):
    headers = [(name.encode(), value.encode()) for value in accept]
    return Request({"type": "http", "headers": headers})


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
        ("", "application/json"),
        ("image/png;q=0.5, application/json;q=0.501", "application/json"),
        ("image/png; q=1.000, application/json; q=0.999", "image/png"),
        ("*/*;q=0.1, image/*;q=0.9", "image/png"),
        ("image/*;q=1, image/png;q=0, application/*;q=0.1", "application/json"),
        ('text/plain;title="a,image/png", application/json', "application/json"),
        ("text/html, image/gif, *; q=.2, */*; q=.1", "application/json"),
        ("image/png ; q=0.7 , application/json ; q=0.3", "image/png"),
        ("application/json;q=nan, image/png", "image/png"),
        ("application/json;q=2, image/png;q=0.1", "image/png"),
        (",, image/png ,", "image/png"),
    ],
)
def test_the_client_chooses(accept, expected):
    assert negotiate(request(accept), ("application/json", "image/png")) == expected


def test_accept_may_be_sent_in_parts():
    parts = request("text/html", "image/png;q=0.1")
    assert negotiate(parts, ("application/json", "image/png")) == "image/png"


@pytest.mark.parametrize("accept", ["application/json;q=0", "*/*;q=0", "json", "q=1", ";;", '"'])
def test_an_accept_that_fits_nothing_is_refused(accept):
    with pytest.raises(ApiError, match="expected Accept: application/json; got") as error:
        negotiate(request(accept), ("application/json",))
    assert error.value.status == 406


def test_what_the_client_refuses_is_not_sent():
    with pytest.raises(ApiError, match="application/json or image/png; got text/html; no text"):
        negotiate(request("text/html"), ("application/json", "image/png"), "no text")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("application/json", JSON),
        ("Application/JSON; charset=UTF-8", JSON),
        ('application/json;charset="utf-8"', JSON),
        ("text/csv; header=present", CSV),
        ("application/x-npy; charset=latin-1", NPY),
    ],
)
def test_a_media_type_may_have_parameters(header, expected):
    assert content_type(request(header, name="content-type"), (JSON, NPY, CSV)) == expected


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], "application/json or text/csv; got none"),
        (["text/plain"], "application/json or text/csv; got text/plain"),
        (["application/json", "text/csv"], "got application/json, text/csv"),
        (["application/json; charset=utf-16"], "with charset=utf-8; got charset=utf-16"),
        (["text/csv; header=absent"], "with a header of column names; got header=absent"),
    ],
)
def test_another_media_type_is_told_those_known(headers, message):
    with pytest.raises(ApiError, match=message) as error:
        content_type(request(*headers, name="content-type"), (JSON, CSV))
    assert error.value.status == 415
    assert error.value.headers == {"Accept": f"{JSON}, {CSV}"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", ""), ("identity", ""), ("gzip", "gzip"), ("X-GZIP", "gzip"), ("deflate", "deflate")],
)
def test_an_encoding_is_known(header, expected):
    assert content_encoding(request(header, name="content-encoding")) == expected


@pytest.mark.parametrize("header", ["br", "zstd", "gzip, gzip", "gzip, br"])
def test_another_encoding_is_told_those_known(header):
    with pytest.raises(ApiError, match="gzip or deflate, or none; got") as error:
        content_encoding(request(header, name="content-encoding"))
    assert error.value.status == 415
    assert error.value.headers == {"Accept-Encoding": "gzip, deflate"}
