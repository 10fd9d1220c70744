"""Predictor: a trained flow that answers requests for samples and log-densities, in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.facts import DataFacts
from flowkd.data.rows import Examples
from flowkd.data.steps import step_widths, to_grid
from flowkd.evaluation.metrics import bits_per_dim
from flowkd.flows.engine.choose import EngineName
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference
from flowkd.predict.batching import apply_in_chunks, choose_chunk_size
from flowkd.predict.far_context import far_context
from flowkd.predict.requests import (
    InvalidRequestError,
    LogProbRequest,
    RequestLimits,
    SampleRequest,
    check_num_examples,
    check_range,
    read_context,
    read_floats,
    read_numbers,
)
from flowkd.registry.artifacts import Artifact

T = TypeVar("T")


@dataclass(frozen=True)
class SampleInputs:
    """A checked SampleRequest as tensors.

    Attributes:
        z: Latents, (N, *latent_shape), of the request's seed and temperature.
        context: One row per example, or None for an unconditional flow.
        remarks: What to know of the answer, a sentence each.
    """

    z: Tensor
    context: Tensor | None
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.z)

    def rows(self, start: int, stop: int) -> SampleInputs:
        """Returns a part of the request."""
        context = None if self.context is None else self.context[start:stop]
        return SampleInputs(self.z[start:stop], context)


@dataclass(frozen=True)
class LogProbInputs:
    """A checked LogProbRequest as tensors.

    Attributes:
        x: Points of the continuous space, (N, *event_shape); pixels are dequantised already.
        context: One row per example, or None for an unconditional flow.
        remarks: What to know of the answer, a sentence each.
    """

    x: Tensor
    context: Tensor | None
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, start: int, stop: int) -> LogProbInputs:
        """Returns a part of the request."""
        context = None if self.context is None else self.context[start:stop]
        return LogProbInputs(self.x[start:stop], context)


@dataclass(frozen=True)
class LogProbResult:
    """The answer to a LogProbRequest.

    Attributes:
        log_prob: Log-density in nats, (N,).
        bits_per_dim: -log2 p / D, (N,).
    """

    log_prob: Tensor
    bits_per_dim: Tensor


@dataclass(frozen=True)
class Predictor:
    """A trained flow that answers requests.

    Every row is computed in a chunk of one fixed size, so an answer does not depend on which other
    requests share its batch, not even in the last bit.

    Attributes:
        flow: The flow, in eval mode, without gradients.
        bins: Number of integer values of a pixel, 256 for 8 bits; None for continuous data.
        data: What its data are called, the steps of its columns, and the range of its context.
        chunk_size: Rows per call of the flow.

    >>> from flowkd.flows.build import build_flow
    >>> from flowkd.flows.coupling import CouplingConfig
    >>> flow = build_flow(CouplingConfig(event_shape=(2,), mean=0.0, scale=1.0))
    >>> predictor = Predictor(flow.eval())
    >>> x = predictor.sample(SampleRequest(n=3, seed=0))
    >>> x.shape
    torch.Size([3, 2])
    >>> predictor.log_prob(LogProbRequest(x=x.numpy())).log_prob.shape
    torch.Size([3])
    """

    flow: Flow
    bins: int | None = None
    data: DataFacts = field(default_factory=DataFacts)
    chunk_size: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chunk_size", choose_chunk_size(self.flow))

    @classmethod
    def from_artifact(cls, artifact: Artifact, engine: EngineName = "auto") -> Predictor:
        """Returns the predictor of an artifact, its flow in the form of `for_inference`."""
        manifest = artifact.manifest
        return cls(for_inference(artifact.flow, engine), manifest.lineage.bins, manifest.data)

    @property
    def makes_pictures(self) -> bool:
        """Whether its examples are pictures: pixels in 1 or 3 channels."""
        shape = self.flow.event_shape
        return self.bins is not None and len(shape) == 3 and shape[0] in (1, 3)

    def sample(self, request: SampleRequest, limits: RequestLimits | None = None) -> Tensor:
        """Returns n examples, (n, *event_shape), in data units.

        A flow of pixels gives uint8, floor(x) clipped to 0..bins-1: the pixels whose probability
        its density integrates to. Other flows give floats; those of a column of steps are on its
        grid.

        Raises:
            InvalidRequestError: The request does not fit the flow, or the examples are not finite.
        """
        return value_or_raise(self.sample_batch([self.prepare_sample(request, limits)])[0])

    def log_prob(
        self, request: LogProbRequest, limits: RequestLimits | None = None
    ) -> LogProbResult:
        """Returns the log-density of examples; LogProbRequest says how pixels are treated.

        Raises:
            InvalidRequestError: The request does not fit the flow, or a density is not finite.
        """
        return value_or_raise(self.log_prob_batch([self.prepare_log_prob(request, limits)])[0])

    def prepare_sample(
        self, request: SampleRequest, limits: RequestLimits | None = None
    ) -> SampleInputs:
        """Checks a request against the flow, draws latents; raises InvalidRequestError."""
        check_num_examples("n", request.n, self.flow.dimensions, limits or RequestLimits())
        context = self._context(request.context, request.n)
        remarks = far_context(context, self.data)
        generator = torch.Generator().manual_seed(request.seed)
        z = self.flow.draw_latents(request.n, temperature=request.temperature, generator=generator)
        return SampleInputs(z, context, remarks)

    def _context(self, value: Any, rows: int) -> Tensor | None:
        return read_context(value, self.flow.context, rows, self.data.class_names)

    def prepare_log_prob(
        self, request: LogProbRequest, limits: RequestLimits | None = None
    ) -> LogProbInputs:
        """Checks a request against the flow, dequantises pixels; raises InvalidRequestError."""
        x, shape, bins = read_numbers(request.x, "x"), self.flow.event_shape, self.bins
        if x.ndim == 0 or x.shape[1:] != shape or not len(x):
            expected = ", ".join(map(str, shape))
            raise InvalidRequestError(
                f"x: expected shape (N, {expected}) with N of at least 1; got shape {x.shape}"
            )
        check_num_examples("x", len(x), self.flow.dimensions, limits or RequestLimits())
        context = self._context(request.context, len(x))
        remarks = far_context(context, self.data)
        if bins is None or x.dtype.kind == "f":
            values = read_floats(x, "x")
            if bins is not None:
                check_range(values.numpy(), 0, bins, f"data units, floats from 0 to {bins}")
            else:
                values = self._with_noise(values, request.seed)
            return LogProbInputs(values, context, remarks)
        check_range(x, 0, bins - 1, f"pixel values 0..{bins - 1}")
        pixels = Examples(torch.from_numpy(x.astype(np.uint8)))
        noisy = next(evaluation_batches(pixels, bins, len(x), request.seed)).x
        return LogProbInputs(noisy, context, remarks)

    def _with_noise(self, values: Tensor, seed: int) -> Tensor:
        """Returns rows of a table with noise in the columns of steps, as in its evaluation."""
        widths = step_widths(self.data.steps)
        if widths is None:
            return values
        measured = Examples(values.float(), steps=widths)
        return next(evaluation_batches(measured, None, len(values), seed)).x

    def sample_batch(self, batch: Sequence[SampleInputs]) -> list[Tensor | InvalidRequestError]:
        """Returns the examples of each request."""
        samples = self.decode(batch)
        return [self.to_samples(x, inputs) for x, inputs in zip(samples, batch, strict=True)]

    def decode(self, batch: Sequence[SampleInputs]) -> list[Tensor]:
        """Returns x = f^-1(z) of each request or part of one, (N, *event_shape)."""
        latents, contexts = [each.z for each in batch], [each.context for each in batch]
        return apply_in_chunks(self.flow.inverse, self.chunk_size, latents, contexts)

    def log_prob_batch(
        self, batch: Sequence[LogProbInputs]
    ) -> list[LogProbResult | InvalidRequestError]:
        """Returns the log-densities of each request."""
        log_probs = self.score(batch)
        return [
            self.to_result(log_prob, inputs)
            for log_prob, inputs in zip(log_probs, batch, strict=True)
        ]

    def score(self, batch: Sequence[LogProbInputs]) -> list[Tensor]:
        """Returns log p(x) of each request or part of one in nats, (N,)."""
        like = next(self.flow.parameters())
        rows, contexts = [each.x.to(like) for each in batch], [each.context for each in batch]
        return apply_in_chunks(self.flow.log_prob, self.chunk_size, rows, contexts)

    def to_samples(self, x: Tensor, inputs: SampleInputs) -> Tensor | InvalidRequestError:
        """Returns what `decode` gave a whole request, in data units."""
        bad = (~x.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if bad:
            fault = "temperature: the examples are not finite; lower the temperature"
            return InvalidRequestError(self._blame(inputs.context, bad[0]) or fault)
        bins = self.bins
        if bins is None:
            return to_grid(x, self.data.steps).cpu()
        return x.floor().clamp(0, bins - 1).to(torch.uint8).cpu()

    def to_result(
        self, log_prob: Tensor, inputs: LogProbInputs
    ) -> LogProbResult | InvalidRequestError:
        """Returns what `score` gave a whole request, with bits per dimension."""
        bad = (~log_prob.isfinite()).nonzero().flatten().tolist()
        if bad:
            fault = (
                f"x: example {bad[0]} is too far from the model's data for a finite density, "
                f"{len(bad)} such in all"
            )
            return InvalidRequestError(self._blame(inputs.context, bad[0]) or fault)
        bits = bits_per_dim(log_prob, self.flow.dimensions)
        assert isinstance(bits, Tensor)
        return LogProbResult(log_prob.cpu(), bits.cpu())

    @torch.no_grad()
    def _blame(self, context: Tensor | None, row: int) -> str | None:
        """Returns the fault of a row's context, if with it not even the latent 0 stays finite."""
        if context is None:
            return None
        given = context[row : row + 1]
        x = self.flow.inverse(torch.zeros(1, *self.flow.latent_shape), given)
        if bool(x.isfinite().all()) and bool(self.flow.log_prob(x, given).isfinite().all()):
            return None
        return (
            f"context: with {given[0].tolist()}, that of example {row}, not even the likeliest "
            "example is finite; give one like those of the training data"
        )


def value_or_raise(answer: T | InvalidRequestError) -> T:
    """Returns an answer of a batch, or raises it where it is an error."""
    if isinstance(answer, InvalidRequestError):
        raise answer
    return answer
