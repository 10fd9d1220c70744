"""The description of routes and of their JSON answers in OpenAPI."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict

from cluster.serve.media import CSV, JSON
from flowkd.registry.card import Lineage


class _Answer(BaseModel):
    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, protected_namespaces=()
    )


class ModelAnswer(_Answer):
    """What every answer of a model says of itself."""

    model_name: str
    """Name of the model in the URL."""
    model_version: str
    """Version of the model in the store."""
    seed: int
    """Seed of the request; with it, the same request gives the same answer."""
    remarks: list[str]
    """What to know of the answer, as of a context far outside of the training's."""
    columns: list[str] | None
    """Names of the columns of an example, in their order; null if it is no row of a table."""


class SampleAnswer(ModelAnswer):
    """Examples."""

    shape: list[int]
    """Shape of the samples, (n, *event_shape)."""
    samples: list[Any]
    """Examples in data units, nested lists of this shape: integers for pixels, else floats."""


class LogProbAnswer(ModelAnswer):
    """Log-densities."""

    unit: Literal["nats"]
    """Unit of log_prob."""
    log_prob: list[float]
    """Log-density of each example."""
    bits_per_dim: list[float]
    """-log2 p / D of each example."""


class ContextDescription(_Answer):
    """The context that a model takes."""

    classes: int
    """Number of classes; 0 if it takes none."""
    size: int
    """Length of the vector; 0 if it takes none."""
    columns: list[str] | None
    """Names of its values, one for a class; null if they have none."""
    class_names: list[str] | None
    """Names of the classes; null if they have none."""
    minimum: list[float] | None
    """Least value of each column in the training data; null if unknown."""
    maximum: list[float] | None
    """Largest value of each column in the training data; null if unknown."""


class ModelDescription(_Answer):
    """A model that is served."""

    name: str
    """Name in the URL."""
    reference: str
    """Place in the store."""
    version: str
    """Version in the store."""
    aliases: list[str]
    """Aliases that pointed at this version when it was loaded."""
    dataset: str | None
    """Data set that it was trained on; null if unknown."""
    event_shape: list[int]
    """Shape of an example."""
    dimensions: int
    """Number of values of an example."""
    columns: list[str] | None
    """Names of the columns of an example, in their order; null if it is no row of a table."""
    units: dict[str, str]
    """Units of columns, by name, where they are known."""
    bins: int | None
    """Number of integer values of a pixel; null for continuous data."""
    parameters: int
    """Number of the flow's parameters."""
    engine: Literal["onnx", "torch"]
    """What computes it: samples of a seed are the same for the same engine."""
    context: ContextDescription
    """Context of a conditional flow."""
    metrics: dict[str, Any]
    """Metrics that were published with it."""
    lineage: Lineage
    """Origin: dataset, teacher, run, commit."""


class ModelList(_Answer):
    """All models that are served."""

    models: list[ModelDescription]
    """The models."""


class Health(_Answer):
    """A replica with its models loaded."""

    status: Literal["ok"]
    """Always ok; where no model is loaded, the answer is 503."""
    models: list[str]
    """Names of the models."""


class ErrorDetail(_Answer):
    """What went wrong."""

    code: str
    """Kind of error, for programs."""
    message: str
    """What was expected and what came, for people."""


class ErrorAnswer(_Answer):
    """The answer to every request that fails."""

    error: ErrorDetail
    """What went wrong."""


def describe_route(
    answer: type[BaseModel],
    answer_types: tuple[str, ...] = (),
    body: type[BaseModel] | None = None,
    body_types: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Returns how FastAPI is to describe a route that reads and writes its bodies by itself.

    FastAPI could parse a typed body itself, but would read it before any limit is checked, and on
    the event loop: three times as long for 1 MB of numbers as `read_body` and `parse_json`.

    Args:
        answer: Model of the JSON answer.
        answer_types: Media types of other answers.
        body: Model of the JSON body.
        body_types: Media types of bodies that hold x, the other fields being in the query.
    """
    errors = {status: {"model": ErrorAnswer} for status in ("4XX", "5XX")}
    extra: dict[str, Any] = {}
    if body:
        content = {JSON: {"schema": body.model_json_schema()}, **_others(body_types)}
        extra["requestBody"] = {"required": True, "content": content}
    if body and body_types:
        fields = body.model_json_schema()["properties"]
        extra["parameters"] = [
            {"name": name, "in": "query", "content": {JSON: {"schema": field}}}
            for name, field in fields.items()
            if name != "x"
        ]
    return {
        "response_class": Response,
        "responses": {
            200: {"model": answer, "content": {JSON: {}, **_others(answer_types)}},
            **errors,
        },
        "openapi_extra": extra,
    }


def _others(media_types: tuple[str, ...]) -> dict[str, Any]:
    binary = {"type": "string", "format": "binary"}
    return {each: {"schema": {"type": "string"} if each == CSV else binary} for each in media_types}
