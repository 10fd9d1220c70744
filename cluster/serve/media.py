"""Media types: which one a body has, which one the client prefers, how a body is encoded.

Not werkzeug's MIMEAccept: it refuses `application/json; charset=utf-8`, and comes with a test's
tool alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from fastapi import Request

from cluster.serve.errors import ApiError

JSON, PNG, NPY, CSV = "application/json", "image/png", "application/x-npy", "text/csv"
PARQUET = "application/vnd.apache.parquet"
ARROW_STREAM, ARROW_FILE = (f"application/vnd.apache.arrow.{kind}" for kind in ("stream", "file"))
TABLES = (CSV, PARQUET, ARROW_STREAM, ARROW_FILE)
ENCODINGS = ("gzip", "deflate")

_UTF8 = ("utf-8", "utf8", "us-ascii", "ascii")
_ELEMENTS, _PARTS = (
    re.compile(rf'(?:[^"{separator}]|"(?:[^"\\]|\\.)*"?)+') for separator in (",", ";")
)
_WEIGHT = re.compile(r"[01]|[01]?\.[0-9]+|[01]\.")


class MediaType(NamedTuple):
    """An element of a Content-Type or an Accept header, in lower case."""

    name: str
    parameters: dict[str, str]


def content_type(request: Request, known: Sequence[str]) -> str:
    """Returns the media type of the body; raises ApiError 415 unless it is one of the known."""
    header = ", ".join(request.headers.getlist("content-type"))
    found = _media_types(header)
    if len(found) != 1 or found[0].name not in known:
        message = f"expected Content-Type: {' or '.join(known)}; got {header or 'none'}"
        raise ApiError(415, "unsupported_media_type", message, {"Accept": ", ".join(known)})
    name, parameters = found[0]
    wrong = (
        f"charset={parameters['charset']}"
        if name in (JSON, CSV) and parameters.get("charset", "utf-8") not in _UTF8
        else "header=absent"
        if name == CSV and parameters.get("header") == "absent"
        else ""
    )
    if wrong:
        asked = "a header of column names" if wrong == "header=absent" else "charset=utf-8"
        message = f"expected {name} with {asked}; got {wrong}"
        raise ApiError(415, "unsupported_media_type", message, {"Accept": ", ".join(known)})
    return name


def content_encoding(request: Request) -> str:
    """Returns how the body is encoded, "" if it is not.

    Raises:
        ApiError: 415, an encoding that is not known, or more than one.
    """
    header = ", ".join(request.headers.getlist("content-encoding"))
    found = [name for name in (part.strip().lower() for part in header.split(",")) if name]
    found = [name.removeprefix("x-") for name in found if name != "identity"]
    if not found:
        return ""
    if len(found) > 1 or found[0] not in ENCODINGS:
        message = f"expected Content-Encoding: {' or '.join(ENCODINGS)}, or none; got {header}"
        headers = {"Accept-Encoding": ", ".join(ENCODINGS)}
        raise ApiError(415, "unsupported_encoding", message, headers)
    return found[0]


def negotiate(request: Request, offered: Sequence[str], why_not: str = "") -> str:
    """Returns the offered media type that the Accept header prefers, the first on a tie.

    The most specific range that covers a type decides on it; parameters other than q are not
    looked at, and elements that are none are left out.

    Raises:
        ApiError: 406, none of them is accepted; `why_not` is added to the message.
    """
    header = ", ".join(request.headers.getlist("accept"))
    weights = _weights(header) if header.strip() else {"*/*": 1.0}
    qualities = [_quality(weights, media_type) for media_type in offered]
    best = max(qualities)
    if best <= 0:
        message = f"expected Accept: {' or '.join(offered)}; got {header}"
        raise ApiError(406, "not_acceptable", f"{message}; {why_not}" if why_not else message)
    return offered[qualities.index(best)]


def _weights(header: str) -> dict[str, float]:
    """Returns the q value of each media range; the largest where one is there more than once."""
    found: dict[str, float] = {}
    for name, parameters in _media_types(header):
        text = parameters.get("q", "1")
        if _WEIGHT.fullmatch(text) and float(text) <= 1:
            name = "*/*" if name == "*" else name  # as Java's URLConnection says it
            found[name] = max(found.get(name, 0.0), float(text))
    return found


def _quality(weights: dict[str, float], media_type: str) -> float:
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((weights[name] for name in ranges if name in weights), 0.0)


@lru_cache(64)
def _media_types(header: str) -> tuple[MediaType, ...]:
    found = []
    for element in _ELEMENTS.findall(header):
        name, _, rest = element.partition(";")
        parts = _PARTS.findall(rest)
        pairs = (part.partition("=") for part in parts)
        parameters = {key.strip().lower(): value.strip(' "').lower() for key, _, value in pairs}
        if name.strip():
            found.append(MediaType(name.strip().lower(), parameters))
    return tuple(found)
