"""Errors over HTTP: every one of them is answered {"error": {"code", "message"}}."""

from __future__ import annotations

import logging

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from flowkd.errors import ConfigError, FlowkdError
from flowkd.predict.requests import InvalidRequestError

MAX_MESSAGE_LENGTH = 2000
log = logging.getLogger(__name__)


class ApiError(Exception):
    """An error to be answered.

    Attributes:
        status: HTTP status code.
        code: What went wrong, for programs.
        message: What was expected and what came, for people.
        headers: Further headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def error_response(error: ApiError) -> Response:
    """Returns the answer to a request that fails.

    A message that is too long is cut off, and of what others wrote into it nothing is binary.
    """
    message = error.message[: MAX_MESSAGE_LENGTH + 1]
    if not message.isprintable():
        printable = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in message)
        message = "".join(printable)
    if len(message) > MAX_MESSAGE_LENGTH:
        message = f"{message[:MAX_MESSAGE_LENGTH]} ..."
    body = {"error": {"code": error.code, "message": message}}
    return Response(orjson.dumps(body), error.status, error.headers, "application/json")


def add_error_handlers(api: FastAPI) -> None:
    """Lets an application answer exceptions as errors of this form; a bug's details are logged."""

    @api.exception_handler(ApiError)
    async def on_api_error(request: Request, error: ApiError) -> Response:
        return error_response(error)

    @api.exception_handler(FlowkdError)
    async def on_flowkd_error(request: Request, error: FlowkdError) -> Response:
        if isinstance(error, InvalidRequestError | ConfigError):
            return error_response(ApiError(422, "invalid_request", str(error)))
        return error_response(ApiError(500, "internal", str(error)))

    @api.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}; see /docs for the routes"
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        headers = dict(error.headers or {})
        if "GET" in headers.get("Allow", "").split(", "):
            headers["Allow"] += ", HEAD"  # by http.HeadAsGet
        return error_response(ApiError(error.status_code, code, message, headers))

    @api.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("unexpected error", exc_info=error)
        return error_response(ApiError(500, "internal", "an error of the server; see its log"))
