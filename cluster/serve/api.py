"""The HTTP interface of served flows: routes, checks before batching, answers by media type."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from cluster.serve.config import ApiLimits
from cluster.serve.http import (
    JSON,
    NPY,
    PNG,
    ApiError,
    accepted,
    error_response,
    json_response,
    media_type,
    parse_json,
    parse_npy,
    read_body,
)
from cluster.serve.responses import Served, docs_page, sample_response, score_response
from flowkd.config import parse_config
from flowkd.errors import ConfigError, FlowkdError
from flowkd.predict.model import (
    QueryError,
    SampleJob,
    SampleRequest,
    ScoreJob,
    ScoreRequest,
    Scores,
    prepare_sample,
    prepare_score,
    unwrap,
)

log = logging.getLogger(__name__)
NOT_PICTURES = "this model does not make pictures: PNG needs pixels in 1 or 3 channels"


class Backend(Protocol):
    """What computes: it may batch jobs as it likes, for answers do not depend on it."""

    @property
    def models(self) -> Mapping[str, Served]:
        """The models, by the name they are served under."""

    async def sample(self, served: Served, job: SampleJob) -> Any:
        """Returns the examples, or a QueryError."""

    async def score(self, served: Served, job: ScoreJob) -> Any:
        """Returns the scores, or a QueryError."""


def build_api(backend: Backend, limits: ApiLimits) -> FastAPI:
    """Returns the ASGI application that answers for a backend."""
    api = FastAPI(
        title="flowkd",
        description="Samples and likelihoods of normalizing flows.",
        docs_url=None,
        redoc_url=None,
    )
    handlers = _Handlers(backend, limits)
    models = "/v1/models/{name}"
    for path, method, call, extra in (
        (f"{models}/sample", "POST", handlers.sample, _body(SampleRequest)),
        (f"{models}/log_prob", "POST", handlers.log_prob, _body(ScoreRequest, NPY)),
        ("/v1/models", "GET", handlers.list_models, None),
        ("/healthz", "GET", handlers.health, None),
    ):
        api.add_api_route(
            path, call, methods=[method], response_class=Response, openapi_extra=extra
        )

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(list(backend.models.values()), api.openapi()))

    @api.exception_handler(ApiError)
    async def on_api_error(request: Request, error: ApiError) -> Response:
        return error_response(error)

    @api.exception_handler(FlowkdError)
    async def on_user_error(request: Request, error: FlowkdError) -> Response:
        if isinstance(error, QueryError | ConfigError):
            return error_response(ApiError(422, "invalid_request", str(error)))
        return error_response(ApiError(500, "internal", str(error)))

    @api.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        routes = "see /docs for the routes"
        message = f"{request.method} {request.url.path}: {error.detail}; {routes}"
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
        return error_response(ApiError(error.status_code, code, message))

    @api.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        log.error("unexpected error", exc_info=error)
        return error_response(ApiError(500, "internal", "an error of the server; see its log"))

    return api


class _Handlers:
    def __init__(self, backend: Backend, limits: ApiLimits) -> None:
        self.backend = backend
        self.limits = limits
        self.admitted = 0
        # One thread: parsing and encoding hold the interpreter, and memory, one at a time.
        self.thread = ThreadPoolExecutor(1, "flowkd-io")

    async def sample(self, name: str, request: Request) -> Response:
        """Draws samples: JSON, a PNG grid, or .npy, by Accept."""
        with self._admission():
            served = self._find(name)
            drawable = served.model.draws_pictures
            offered = (JSON, PNG, NPY) if drawable else (JSON, NPY)
            kind = accepted(request, offered, "" if drawable else NOT_PICTURES)
            media_type(request, (JSON,))
            body = await self._read(request)
            asked = await self._off_loop(
                lambda: parse_config(SampleRequest, parse_json(body), source="the body")
            )
            job = prepare_sample(served.model, asked, self.limits)
            x = unwrap(await self._in_time(self.backend.sample(served, job))).numpy()
            return await self._off_loop(lambda: sample_response(served, asked.seed, x, kind))

    async def log_prob(self, name: str, request: Request) -> Response:
        """Scores examples, JSON or .npy by Content-Type; nats and bits per dimension, by Accept.

        A .npy body leaves its context and seed to the query: `?context=[0,3]&seed=1`.
        """
        with self._admission():
            served = self._find(name)
            kind = accepted(request, (JSON, NPY))
            given = media_type(request, (JSON, NPY))
            body = await self._read(request)
            query = dict(request.query_params)

            def prepare() -> tuple[int, ScoreJob]:
                if given == NPY:
                    values = {key: parse_json(value.encode()) for key, value in query.items()}
                    values["x"] = parse_npy(body)
                else:
                    values = parse_json(body)
                asked = parse_config(ScoreRequest, values, source="the request")
                return asked.seed, prepare_score(served.model, asked, self.limits)

            seed, job = await self._off_loop(prepare)
            scores: Scores = unwrap(await self._in_time(self.backend.score(served, job)))
            return await self._off_loop(lambda: score_response(served, seed, scores, kind))

    async def list_models(self) -> Response:
        """Lists the models that are served."""
        served = self.backend.models.values()
        return json_response({"models": [each.describe() for each in served]})

    async def health(self) -> Response:
        """Tells whether the models are loaded."""
        if not self.backend.models:
            raise ApiError(503, "not_ready", "no model is loaded yet")
        return json_response({"status": "ok", "models": list(self.backend.models)})

    @contextmanager
    def _admission(self) -> Iterator[None]:
        if self.admitted >= self.limits.queue:
            message = f"{self.admitted} requests wait or run already, the most; try again later"
            raise ApiError(503, "overloaded", message, {"Retry-After": "1"})
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    def _find(self, name: str) -> Served:
        models = self.backend.models
        if name not in models:
            known = ", ".join(models) or "none"
            raise ApiError(404, "unknown_model", f"no model {name!r}; served are: {known}")
        return models[name]

    async def _read(self, request: Request) -> bytes:
        return await read_body(request, self.limits.body_bytes, self.limits.seconds)

    async def _off_loop(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.thread, call)

    async def _in_time(self, answer: Any) -> Any:
        try:
            return await asyncio.wait_for(answer, self.limits.seconds)
        except TimeoutError as error:
            message = f"no answer within {self.limits.seconds:g} s; ask for less, or later"
            raise ApiError(503, "timeout", message, {"Retry-After": "5"}) from error


def _body(kind: type[BaseModel], *more: str) -> dict[str, Any]:
    """Returns how OpenAPI describes a body that the handler reads by itself."""
    content: dict[str, Any] = {JSON: {"schema": kind.model_json_schema()}}
    content |= {other: {"schema": {"type": "string", "format": "binary"}} for other in more}
    return {"requestBody": {"required": True, "content": content}}
