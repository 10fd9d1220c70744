"""The form of the JSON answers, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

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


class ModelDescription(_Answer):
    """A model that is served."""

    name: str
    """Name in the URL."""
    reference: str
    """Place in the store."""
    version: str
    """Version in the store."""
    event_shape: list[int]
    """Shape of an example."""
    bins: int | None
    """Number of integer values of a pixel; null for continuous data."""
    parameters: int
    """Number of the flow's parameters."""
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
