"""The only training loop: a generator, so that its caller decides when to look, save and stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from flowkd.config import Config
from flowkd.data.batch import BatchSource
from flowkd.errors import NonFiniteError
from flowkd.flows.flow import Flow


class TrainConfig(Config):
    """How to optimise.

    Attributes:
        steps: Number of optimiser steps.
        learning_rate: Peak of the learning rate; default 0.001.
        warmup_steps: Steps of linear rise to the peak.
        schedule: After the rise: a half cosine down to the last learning rate, or constant.
        min_learning_rate_ratio: The last learning rate as a share of the peak.
        max_gradient_norm: A gradient of a larger norm is scaled down to it.
        ema_decay: Decay of the averaged weights, which are what is evaluated and published.
    """

    steps: int = Field(ge=1)
    learning_rate: float = Field(1e-3, gt=0)
    warmup_steps: int = Field(100, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    min_learning_rate_ratio: float = Field(0.01, ge=0, le=1)
    max_gradient_norm: float = Field(5.0, gt=0)
    ema_decay: float = Field(0.995, ge=0, lt=1)

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        if self.schedule == "constant":
            return self.learning_rate * rise
        share = min(1.0, max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps))
        fall = self.min_learning_rate_ratio + (1 - self.min_learning_rate_ratio) * 0.5 * (
            1 + math.cos(math.pi * share)
        )
        return self.learning_rate * rise * fall


@dataclass(frozen=True)
class StepResult:
    """What one step did.

    Attributes:
        step: Number of steps done, this one included.
        loss: The weighted sum of the terms.
        terms: Each term, in nats per dimension or as its objective defines it.
        gradient_norm: Before clipping.
        learning_rate: Learning rate of this step.
        seconds: Duration of this step, without the time that the caller took.
    """

    step: int
    loss: float
    terms: dict[str, float]
    gradient_norm: float
    learning_rate: float
    seconds: float


class AveragedFlow:
    """An exponential moving average of a flow's parameters, with a shorter memory at first.

    The decay of update n is min(decay, (1 + n) / (10 + n)). torch.optim.swa_utils.AveragedModel
    takes twice the time for it, and counts its updates itself, also in a run that is resumed.

    Args:
        flow: The flow whose parameters are averaged; it is copied here.
        decay: Decay once the run is long, such as 0.995.
    """

    def __init__(self, flow: Flow, decay: float) -> None:
        self.flow = copy.deepcopy(flow).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, flow: Flow, step: int) -> None:
        """Moves the average towards the flow's parameters after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(
            list(self.flow.parameters()),
            [parameter.detach() for parameter in flow.parameters()],
            1 - decay,
        )


def make_optimizer(flow: Flow, config: TrainConfig) -> torch.optim.Optimizer:
    """Returns Adam over a flow's parameters."""
    return torch.optim.Adam(flow.parameters(), lr=config.learning_rate, fused=True)


def train(
    objective: nn.Module,
    batches: BatchSource,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    *,
    start: int = 0,
    average: AveragedFlow | None = None,
) -> Iterator[StepResult]:
    """Trains an objective, yielding after each step.

    Args:
        objective: A MaximumLikelihood or Distillation, or DDP around one.
        batches: The batch of each step.
        optimizer: Over the parameters of `objective.flow`.
        config: Number of steps and schedule.
        start: Steps already done; the run goes on with the very batch that comes next.
        average: Moving average of the weights, updated after each step; None for none.

    Raises:
        NonFiniteError: At the first term or gradient that is NaN or infinite; the parameters
            are then those of the step before.
    """
    inner: Any = getattr(objective, "module", objective)
    flow: Flow = inner.flow
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    device = parameters[0].device
    for step in range(start, config.steps):
        began = time.perf_counter()
        rate = config.learning_rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = batches.batch(step).to(device)
        losses = objective(batch, step / config.steps)
        optimizer.zero_grad(set_to_none=True)
        losses.total.backward()
        norm = nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm, foreach=True)
        loss, terms, gradient_norm = _finite(step, losses.total, losses.terms, norm)
        optimizer.step()
        if average is not None:
            average.update(flow, step)
        yield StepResult(step + 1, loss, terms, gradient_norm, rate, time.perf_counter() - began)


def _finite(
    step: int, total: Tensor, terms: dict[str, Tensor], norm: Tensor
) -> tuple[float, dict[str, float], float]:
    # Judged after backward: DDP has then spread a NaN to all workers, so that all stop together.
    values = torch.stack([total.detach(), norm, *(term.detach() for term in terms.values())])
    loss, gradient_norm, *rest = values.tolist()
    named = dict(zip(terms, rest, strict=True))
    for name, value in [*named.items(), ("loss", loss), ("gradient norm", gradient_norm)]:
        if not math.isfinite(value):
            raise NonFiniteError(
                f"step {step + 1}: {name} is {value}; the run stops with the parameters of the "
                f"step before: lower learning_rate or max_gradient_norm, or look at the data"
            )
    return loss, named, gradient_norm
