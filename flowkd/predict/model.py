"""What a served flow is asked: samples and likelihoods, free of HTTP and of batching's traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import bits_per_dim
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference
from flowkd.predict.batching import chunk_rows, in_chunks
from flowkd.predict.requests import (
    QueryError,
    QueryLimits,
    SampleRequest,
    ScoreRequest,
    check_count,
    check_range,
    read_context,
    read_floats,
    read_numbers,
)
from flowkd.registry.artifacts import Artifact

__all__ = [
    "Model",
    "QueryError",
    "QueryLimits",
    "SampleJob",
    "SampleRequest",
    "ScoreJob",
    "ScoreRequest",
    "Scores",
    "prepare_sample",
    "prepare_score",
    "run_samples",
    "run_scores",
    "sample",
    "score",
    "unwrap",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """A flow that can be asked.

    Attributes:
        flow: In eval mode, gradients off.
        bins: How many integers a value may take; None for continuous data.
        chunk: Rows that go through the flow together, always.
    """

    flow: Flow
    bins: int | None = None
    chunk: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunk", chunk_rows(self.flow))

    @classmethod
    def of(cls, artifact: Artifact) -> Model:
        """Returns an artifact as a model, its flow in the form for inference."""
        return cls(for_inference(artifact.flow), artifact.manifest.lineage.bins)

    @property
    def draws_pictures(self) -> bool:
        """Whether its examples are pictures: pixels in 1 or 3 channels."""
        shape = self.flow.event_shape
        return self.bins is not None and len(shape) == 3 and shape[0] in (1, 3)


@dataclass(frozen=True)
class SampleJob:
    """A sample request that fits its model."""

    n: int
    temperature: float
    seed: int
    context: Tensor | None


@dataclass(frozen=True)
class ScoreJob:
    """A score request that fits its model; x are points of the continuous space."""

    x: Tensor
    context: Tensor | None


@dataclass(frozen=True)
class Scores:
    """Log-likelihood in nats, (N,), and the same in bits per dimension, (N,)."""

    nats: Tensor
    bits_per_dim: Tensor


def sample(model: Model, request: SampleRequest, limits: QueryLimits | None = None) -> Tensor:
    """Returns n examples, (n, *event_shape), in data units.

    A model of pixels gives uint8, floor(x) clipped to 0..bins-1: the pixels whose probability its
    density integrates to. Other models give floats.

    Raises:
        QueryError: The request does not fit the model, or leads to values that are not finite.
    """
    return unwrap(run_samples(model, [prepare_sample(model, request, limits)])[0])


def score(model: Model, request: ScoreRequest, limits: QueryLimits | None = None) -> Scores:
    """Returns the log-likelihood of examples; see ScoreRequest for integers and floats.

    Raises:
        QueryError: The request does not fit the model, or the density is not finite.
    """
    return unwrap(run_scores(model, [prepare_score(model, request, limits)])[0])


def unwrap(answer: T | QueryError) -> T:
    """Returns an answer, or raises the error in its place."""
    if isinstance(answer, QueryError):
        raise answer
    return answer


def prepare_sample(
    model: Model, request: SampleRequest, limits: QueryLimits | None = None
) -> SampleJob:
    """Checks a request against its model; raises QueryError."""
    check_count("n", request.n, model.flow.dimensions, limits or QueryLimits())
    context = read_context(request.context, model.flow.context, request.n)
    return SampleJob(request.n, request.temperature, request.seed, context)


def prepare_score(
    model: Model, request: ScoreRequest, limits: QueryLimits | None = None
) -> ScoreJob:
    """Checks a request against its model and dequantises pixels; raises QueryError."""
    x, shape, bins = read_numbers(request.x, "x"), model.flow.event_shape, model.bins
    if x.ndim == 0 or x.shape[1:] != shape or not len(x):
        wanted = ", ".join(map(str, shape))
        raise QueryError(
            f"x: expected shape (N, {wanted}) with N of at least 1; got shape {x.shape}"
        )
    check_count("x", len(x), model.flow.dimensions, limits or QueryLimits())
    context = read_context(request.context, model.flow.context, len(x))
    if bins is None or x.dtype.kind == "f":
        values = read_floats(x, "x")
        if bins is not None:
            check_range(values.numpy(), 0, bins, f"data units, floats from 0 to {bins}")
        return ScoreJob(values, context)
    check_range(x, 0, bins - 1, f"pixel values 0..{bins - 1}")
    pixels = Examples(torch.from_numpy(x.astype(np.uint8)))
    return ScoreJob(next(evaluation_batches(pixels, bins, len(x), request.seed)).x, context)


def run_samples(model: Model, jobs: Sequence[SampleJob]) -> list[Tensor | QueryError]:
    """Returns each job's examples; its latents come from a generator of its own."""
    latents = [
        model.flow.draw_latents(
            job.n,
            temperature=job.temperature,
            generator=torch.Generator().manual_seed(job.seed),
        )
        for job in jobs
    ]
    parts = in_chunks(model.flow.inverse, model.chunk, latents, [job.context for job in jobs])
    return [_finished_sample(x, model.bins) for x in parts]


def run_scores(model: Model, jobs: Sequence[ScoreJob]) -> list[Scores | QueryError]:
    """Returns each job's log-likelihoods."""
    like = next(model.flow.parameters())
    rows = [job.x.to(like) for job in jobs]
    parts = in_chunks(model.flow.log_prob, model.chunk, rows, [job.context for job in jobs])
    return [_finished_scores(nats, model.flow.dimensions) for nats in parts]


def _finished_sample(x: Tensor, bins: int | None) -> Tensor | QueryError:
    if not bool(x.isfinite().all()):
        return QueryError("temperature: the examples are not finite; lower the temperature")
    return x.cpu() if bins is None else x.floor().clamp(0, bins - 1).to(torch.uint8).cpu()


def _finished_scores(nats: Tensor, dimensions: int) -> Scores | QueryError:
    bad = (~nats.isfinite()).nonzero().flatten().tolist()
    if bad:
        return QueryError(
            f"x: example {bad[0]} is too far from the model's data for a finite density, "
            f"{len(bad)} such in all"
        )
    bits = bits_per_dim(nats, dimensions)
    assert isinstance(bits, Tensor)
    return Scores(nats.cpu(), bits.cpu())
