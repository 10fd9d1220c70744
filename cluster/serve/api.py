"""The HTTP interface to served models: routes, and the checks of a request before it is batched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse
from torch import Tensor

from cluster.serve.config import ServingLimits
from cluster.serve.errors import ApiError, add_error_handlers
from cluster.serve.hosts import HostCheck
from cluster.serve.http import HeadAsGet, decode_body, json_response, read_body
from cluster.serve.media import JSON, NPY, PNG, TABLES, content_encoding, content_type, negotiate
from cluster.serve.reading import body_types, log_prob_fields, read_query, sample_fields
from cluster.serve.responses import ServedModel, docs_page, log_prob_response, sample_response
from cluster.serve.schemas import (
    Health,
    LogProbAnswer,
    ModelDescription,
    ModelList,
    SampleAnswer,
    describe_route,
)
from cluster.serve.told import Tell, Told, ToldModel
from cluster.serve.waiting import Place, Rates, Waiting
from flowkd.config import parse_config
from flowkd.predict.predictor import LogProbInputs, LogProbResult, SampleInputs, value_or_raise
from flowkd.predict.requests import InvalidRequestError, LogProbRequest, SampleRequest

NO_PNG = "this model does not make pictures: PNG needs pixels in 1 or 3 channels"
NO_TABLE = "this model does not make tables: its examples are no rows"
OPERATIONS = ("sample", "log_prob")
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


def build_api(
    backend: Backend,
    limits: ServingLimits,
    allowed_hosts: Sequence[str] = (),
    rates: Rates | None = None,
    replicas: int = 1,
) -> FastAPI:
    """Returns the ASGI application that answers requests with a backend.

    Args:
        backend: The models.
        limits: Of each request, and of all that wait.
        allowed_hosts: Names by which clients may call it.
        rates: What the backend measures; None for one that does not.
        replicas: How many such applications there are.
    """
    api = FastAPI(
        title="flowkd",
        description="Samples and log-densities of normalizing flows.",
        docs_url=None,
        redoc_url=None,
    )
    handlers = _Handlers(backend, limits, rates or Rates())

    def told(rows: int) -> Told:
        models = {name: handlers.costs(model) for name, model in backend.models.items()}
        return Told(limits, tuple(allowed_hosts), replicas, models, rows)

    models = "/v1/models/{name}"
    arrays = (NPY, *TABLES)
    api.post(f"{models}/sample", **describe_route(SampleAnswer, (PNG, *arrays), SampleRequest))(
        handlers.sample
    )
    api.post(f"{models}/log_prob", **describe_route(LogProbAnswer, arrays, LogProbRequest, arrays))(
        handlers.log_prob
    )
    api.get("/v1/models", **describe_route(ModelList))(handlers.list_models)
    api.get(models, **describe_route(ModelDescription))(handlers.show_model)
    api.get("/healthz", **describe_route(Health))(handlers.health)

    @api.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(docs_page(list(backend.models.values()), api.openapi()))

    add_error_handlers(api)
    api.add_middleware(HeadAsGet)
    api.add_middleware(HostCheck, names=allowed_hosts)
    api.add_middleware(Tell, told=told)
    return api


class _Handlers:
    def __init__(self, backend: Backend, limits: ServingLimits, rates: Rates) -> None:
        self.backend = backend
        self.limits = limits
        self.rates = rates
        self.waiting = Waiting()
        # One thread: parsing and encoding hold the interpreter, and memory, one at a time.
        self.thread = ThreadPoolExecutor(1, "flowkd-io")

    async def sample(self, name: str, request: Request) -> Response:
        """Draws examples, answered by Accept as JSON, a grid in PNG, .npy, or a table."""
        with self._admission() as place:
            model = self._find(name)
            png, table = model.predictor.makes_pictures, model.columns is not None
            offered = (JSON, *((PNG,) if png else ()), NPY, *(TABLES if table else ()))
            media_type = negotiate(request, offered, NO_TABLE if png else NO_PNG)
            read_query(request, content_type(request, (JSON,)))
            body = await self._read(request)

            def prepare() -> tuple[int, SampleInputs]:
                values = sample_fields(model, body())
                fields = parse_config(SampleRequest, values, source="the body")
                return fields.seed, model.predictor.prepare_sample(fields, self.limits)

            seed, inputs = await self._in_thread(prepare)
            self._account(request, place, model, "sample", len(inputs))
            x = value_or_raise(await self._in_time(self.backend.sample(model, inputs)))
            return await self._in_thread(
                lambda: sample_response(model, seed, x.numpy(), media_type, inputs.remarks)
            )

    async def log_prob(self, name: str, request: Request) -> Response:
        """Evaluates the log-density of examples, answered by Accept as JSON, .npy, or a table.

        A table has a column for each of the model's and of its context's, in any order. A .npy body
        holds x alone. The fields that a body of either kind has no place for are in the query:
        `?context=[0,3]&seed=1`.
        """
        with self._admission() as place:
            model = self._find(name)
            media_type = negotiate(request, (JSON, NPY, *TABLES))
            given = content_type(request, body_types(model))
            query = read_query(request, given)
            body = await self._read(request)

            def prepare() -> tuple[int, LogProbInputs]:
                values = log_prob_fields(model, body(), given, query, self.limits)
                fields = parse_config(LogProbRequest, values, source="the request")
                return fields.seed, model.predictor.prepare_log_prob(fields, self.limits)

            seed, inputs = await self._in_thread(prepare)
            self._account(request, place, model, "log_prob", len(inputs))
            result = value_or_raise(await self._in_time(self.backend.log_prob(model, inputs)))
            return await self._in_thread(
                lambda: log_prob_response(model, seed, result, media_type, inputs.remarks)
            )

    async def list_models(self) -> Response:
        """Describes the models that are served."""
        models = self.backend.models.values()
        return json_response({"models": [model.describe() for model in models]})

    async def show_model(self, name: str) -> Response:
        """Describes a model: its columns, its context, and what it was made of."""
        return json_response(self._find(name).describe())

    async def health(self) -> Response:
        """Tells whether the models are loaded."""
        if not self.backend.models:
            raise ApiError(503, "not_ready", "no model is loaded yet")
        return json_response({"status": "ok", "models": list(self.backend.models)})

    def costs(self, model: ServedModel) -> ToldModel:
        """Returns what requests to a model cost."""
        seconds = {operation: self.rates.cost(model.name, operation, 1) for operation in OPERATIONS}
        return ToldModel(model.predictor.flow.dimensions, seconds)

    @contextmanager
    def _admission(self) -> Iterator[Place]:
        fault = self.waiting.refusal(0, self.limits, self.limits.request_timeout_s)
        if fault is not None:
            raise fault
        with self.waiting.enter() as place:
            yield place

    def _account(
        self, request: Request, place: Place, model: ServedModel, operation: str, rows: int
    ) -> None:
        """Lets a request cost what its rows do; raises ApiError 503 where that is too much."""
        request.state.rows = rows
        cost, timeout = self.rates.cost(model.name, operation, rows), self.limits.request_timeout_s
        fault = self.waiting.refusal(cost, self.limits, timeout, own=place)
        if fault is not None:
            raise fault
        place.add(cost)

    def _find(self, name: str) -> ServedModel:
        models = self.backend.models
        if name not in models:
            known = ", ".join(models) or "none"
            raise ApiError(404, "unknown_model", f"no model {name!r}; served are: {known}")
        return models[name]

    async def _read(self, request: Request) -> Callable[[], bytes]:
        """Returns what decodes the body, which is not to be done on the event loop."""
        encoding, limit = content_encoding(request), self.limits.max_body_bytes
        body = await read_body(request, limit, self.limits.request_timeout_s)
        return lambda: decode_body(body, encoding, limit)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.thread, call)

    async def _in_time(self, answer: Awaitable[T]) -> T:
        seconds = self.limits.request_timeout_s
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError as error:
            message = f"no answer within {seconds:g} s; ask for less, or later"
            raise ApiError(503, "timeout", message, {"Retry-After": "5"}) from error
