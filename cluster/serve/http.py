"""Bodies and media types: reading them within limits, writing them, choosing one by Accept."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from fastapi import Request, Response

from cluster.serve.errors import ApiError
from flowkd.data.npy import read_npy_header
from flowkd.predict.requests import InvalidRequestError

JSON, PNG, NPY = "application/json", "image/png", "application/x-npy"


def json_response(value: Any, headers: dict[str, str] | None = None) -> Response:
    """Returns a value, numpy arrays included, as JSON."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, headers=headers, media_type=JSON)


def npy_response(array: np.ndarray, headers: dict[str, str]) -> Response:
    """Returns an array as a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return Response(file.getvalue(), headers=headers, media_type=NPY)


def content_type(request: Request, known: Sequence[str]) -> str:
    """Returns the media type of the body; raises ApiError 415 unless it is one of the known."""
    header = request.headers.get("content-type", "")
    found = header.partition(";")[0].strip().lower()
    if found not in known:
        raise ApiError(
            415,
            "unsupported_media_type",
            f"expected Content-Type: {' or '.join(known)}; got {header or 'none'}",
        )
    return found


def negotiate(request: Request, offered: Sequence[str], why_not: str = "") -> str:
    """Returns the offered media type that the Accept header prefers, the first on a tie.

    Not werkzeug's MIMEAccept: it refuses `application/json; charset=utf-8`, and comes with a test's
    tool alone.

    Raises:
        ApiError: 406, none of them is accepted; `why_not` is added to the message.
    """
    header = request.headers.get("accept") or "*/*"
    qualities = [_quality(header, media_type) for media_type in offered]
    best = max(qualities)
    if best <= 0:
        message = f"expected Accept: {' or '.join(offered)}; got {header}"
        raise ApiError(406, "not_acceptable", f"{message}; {why_not}" if why_not else message)
    return offered[qualities.index(best)]


def _quality(header: str, media_type: str) -> float:
    """Returns the q value of the most specific media range that covers a media type."""
    found: dict[str, float] = {}
    for item in header.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            found[name] = float(weight)
        except ValueError:
            found[name] = 0.0
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((found[name] for name in ranges if name in found), 0.0)


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """Returns the body.

    Raises:
        ApiError: 413 as soon as it is too large, 408 if it is too slow, 400 if it is empty.
    """
    too_large = ApiError(
        413, "body_too_large", f"expected a body of at most {max_bytes} bytes; send fewer examples"
    )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise too_large
    parts, size = [], 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise too_large
                parts.append(part)
    except TimeoutError as error:
        message = f"expected the whole body within {timeout_s:g} s; got {size} bytes"
        raise ApiError(408, "body_too_slow", message) from error
    if not size:
        raise ApiError(400, "empty_body", "expected a body; got an empty one")
    return b"".join(parts)


def parse_json(body: bytes) -> Any:
    """Returns a body as plain values; raises ApiError 400 if it is not JSON, which has no NaN."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "malformed_body", f"expected JSON: {error}") from error


def parse_npy(body: bytes) -> np.ndarray:
    """Returns the array of a .npy body, without pickle and no larger than the body.

    Raises:
        ApiError: 400, it is not a .npy file, or is cut off.
        InvalidRequestError: It holds something other than numbers.
    """
    file = io.BytesIO(body)
    try:
        header = read_npy_header(file)
    except ValueError as error:
        raise ApiError(400, "malformed_body", f"expected a .npy file: {error}") from error
    if header.dtype.kind not in "iuf":
        raise InvalidRequestError(f"x: expected integers or floats; got dtype {header.dtype}")
    try:
        return header.array(memoryview(body)[file.tell() :])
    except ValueError as error:
        message = f"{error}: the .npy file is cut off or too long"
        raise ApiError(400, "malformed_body", message) from error
