"""Bodies: reading and decoding them within limits, writing them."""

from __future__ import annotations

import asyncio
import io
import zlib
from typing import Any

import numpy as np
import orjson
from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cluster.serve.errors import ApiError
from cluster.serve.media import JSON, NPY
from flowkd.data.npy import read_npy_header
from flowkd.predict.requests import InvalidRequestError

GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS  # by the first bytes


def json_response(value: Any, headers: dict[str, str] | None = None) -> Response:
    """Returns a value, numpy arrays included, as JSON."""
    body = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, headers=headers, media_type=JSON)


def npy_response(array: np.ndarray, headers: dict[str, str]) -> Response:
    """Returns an array as a .npy file."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return Response(file.getvalue(), headers=headers, media_type=NPY)


class HeadAsGet:
    """ASGI middleware: HEAD is answered as GET is, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self.app(scope, receive, send)

        async def without_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, without_body)


async def read_body(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    """Returns the body, as it is encoded.

    Raises:
        ApiError: 413 as soon as it is too large, 408 if it is too slow, 400 if it is empty.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > max_bytes:
        raise too_large(max_bytes)
    parts, size = [], 0
    try:
        async with asyncio.timeout(timeout_s):
            async for part in request.stream():
                size += len(part)
                if size > max_bytes:
                    raise too_large(max_bytes)
                parts.append(part)
    except TimeoutError as error:
        message = f"expected the whole body within {timeout_s:g} s; got {size} bytes"
        raise ApiError(408, "body_too_slow", message) from error
    if not size:
        raise ApiError(400, "empty_body", "expected a body; got an empty one")
    return b"".join(parts)


def decode_body(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Returns a body without its encoding, which is "" or one of `media.ENCODINGS`.

    Raises:
        ApiError: 413 as soon as it is too large; 400, it is cut off, or not encoded so.
    """
    if not encoding:
        return body
    decoder = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        decoded = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        message = f"expected a body that is encoded as {encoding}: {error}"
        raise ApiError(400, "malformed_body", message) from error
    if len(decoded) > max_bytes:
        raise too_large(max_bytes, " once it is decompressed")
    if not decoder.eof or decoder.unused_data:
        fault = "bytes follow its end" if decoder.eof else "it is cut off"
        raise ApiError(
            400, "malformed_body", f"expected a body that is encoded as {encoding}: {fault}"
        )
    return decoded


def too_large(max_bytes: int, when: str = "") -> ApiError:
    """Returns the error for a body that is larger than the limit."""
    message = f"expected a body of at most {max_bytes} bytes{when}; send fewer examples"
    return ApiError(413, "body_too_large", message)


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
