"""The HTTP interface to served models: routes, and the checks of a request before it is batched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from torch import Tensor

from cluster.serve.config import ServingLimits
from cluster.serve.errors import ApiError, add_error_handlers
from cluster.serve.http import (
    JSON,
    NPY,
    PNG,
    content_type,
    json_response,
    negotiate,
    parse_json,
    parse_npy,
    read_body,
)
from cluster.serve.responses import ServedModel, docs_page, log_prob_response, sample_response
from cluster.serve.schemas import (
    Health,
    LogProbAnswer,
    ModelList,
    SampleAnswer,
    describe_route,
)
from flowkd.config import parse_config
from flowkd.predict.predictor import LogProbInputs, LogProbResult, SampleInputs, value_or_raise
from flowkd.predict.requests import InvalidRequestError, LogProbRequest, SampleRequest

NO_PNG = "this model does not make pictures: PNG needs pixels in 1 or 3 channels"
T = TypeVar("T")


class Backend(Protocol):
    """The models, and their computation; it may batch requests."""

    @property
    def models(self) -> Mapping[str, ServedModel]:
        """The models, by their names in URLs."""

    async def sample(
        self, model: ServedModel, inputs: SampleInputs
    ) -> Tensor | InvalidRequestError:
        """Returns examples, (n, *event_shape)."""

    async def log_prob(
        self, model: ServedModel, inputs: LogProbInputs
    ) -> LogProbResult | InvalidRequestError:
        """Returns log-densities."""


def build_api(backend: Backend, limits: ServingLimits) -> FastAPI:
    """Returns the ASGI application that answers requests with a backend."""
    api = FastAPI(
        title="flowkd",
        description="Samples and log-densities of normalizing flows.",
        docs_url=None,
        redoc_url=None,
    )
    handlers = _Handlers(backend, limits)
    models = "/v1/models/{name}"
    api.post(f"{models}/sample", **describe_route(SampleAnswer, (PNG, NPY), SampleRequest))(
        handlers.sample
    )
    api.post(f"{models}/log_prob", **describe_route(LogProbAnswer, (NPY,), LogProbRequest, (NPY,)))(
        handlers.log_prob
    )
    api.get("/v1/models", **describe_route(ModelList))(handlers.list_models)
    api.get("/healthz", **describe_route(Health))(handlers.health)

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(list(backend.models.values()), api.openapi()))

    add_error_handlers(api)
    return api


class _Handlers:
    def __init__(self, backend: Backend, limits: ServingLimits) -> None:
        self.backend = backend
        self.limits = limits
        self.ongoing = 0
        # One thread: parsing and encoding hold the interpreter, and memory, one at a time.
        self.thread = ThreadPoolExecutor(1, "flowkd-io")

    async def sample(self, name: str, request: Request) -> Response:
        """Draws examples, answered as JSON, as a grid in PNG, or as .npy, by Accept."""
        with self._admission():
            model = self._find(name)
            png = model.predictor.makes_pictures
            offered = (JSON, PNG, NPY) if png else (JSON, NPY)
            media_type = negotiate(request, offered, "" if png else NO_PNG)
            content_type(request, (JSON,))
            body = await self._read(request)

            def prepare() -> tuple[int, SampleInputs]:
                fields = parse_config(SampleRequest, parse_json(body), source="the body")
                return fields.seed, model.predictor.prepare_sample(fields, self.limits)

            seed, inputs = await self._in_thread(prepare)
            x = value_or_raise(await self._in_time(self.backend.sample(model, inputs)))
            return await self._in_thread(
                lambda: sample_response(model, seed, x.numpy(), media_type, inputs.remarks)
            )

    async def log_prob(self, name: str, request: Request) -> Response:
        """Evaluates the log-density of examples, answered as JSON or as .npy, by Accept.

        A .npy body holds x alone, the other fields are in the query: `?context=[0,3]&seed=1`.
        """
        with self._admission():
            model = self._find(name)
            media_type = negotiate(request, (JSON, NPY))
            given = content_type(request, (JSON, NPY))
            body = await self._read(request)
            query = dict(request.query_params)

            def prepare() -> tuple[int, LogProbInputs]:
                if given == NPY:
                    values = {key: parse_json(value.encode()) for key, value in query.items()}
                    values["x"] = parse_npy(body)
                else:
                    values = parse_json(body)
                fields = parse_config(LogProbRequest, values, source="the request")
                return fields.seed, model.predictor.prepare_log_prob(fields, self.limits)

            seed, inputs = await self._in_thread(prepare)
            result = value_or_raise(await self._in_time(self.backend.log_prob(model, inputs)))
            return await self._in_thread(
                lambda: log_prob_response(model, seed, result, media_type, inputs.remarks)
            )

    async def list_models(self) -> Response:
        """Describes the models that are served."""
        models = self.backend.models.values()
        return json_response({"models": [model.describe() for model in models]})

    async def health(self) -> Response:
        """Tells whether the models are loaded."""
        if not self.backend.models:
            raise ApiError(503, "not_ready", "no model is loaded yet")
        return json_response({"status": "ok", "models": list(self.backend.models)})

    @contextmanager
    def _admission(self) -> Iterator[None]:
        if self.ongoing >= self.limits.max_ongoing_requests:
            message = f"{self.ongoing} requests wait or run already, the most; try again later"
            raise ApiError(503, "overloaded", message, {"Retry-After": "1"})
        self.ongoing += 1
        try:
            yield
        finally:
            self.ongoing -= 1

    def _find(self, name: str) -> ServedModel:
        models = self.backend.models
        if name not in models:
            known = ", ".join(models) or "none"
            raise ApiError(404, "unknown_model", f"no model {name!r}; served are: {known}")
        return models[name]

    async def _read(self, request: Request) -> bytes:
        return await read_body(request, self.limits.max_body_bytes, self.limits.request_timeout_s)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, call)

    async def _in_time(self, answer: Awaitable[T]) -> T:
        seconds = self.limits.request_timeout_s
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError as error:
            message = f"no answer within {seconds:g} s; ask for less, or later"
            raise ApiError(503, "timeout", message, {"Retry-After": "5"}) from error
