"""The only training loop: a generator, so that its caller decides when to look, save and stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.data.batch import Batch, BatchSource
from flowkd.errors import NonFiniteError
from flowkd.flows.flow import Flow
from flowkd.nn import Conditioner
from flowkd.training.compiled import computing
from flowkd.training.horizon import Horizon
from flowkd.training.train_config import TrainConfig


@dataclass
class StepResult:
    """What one step did.

    Attributes:
        step: Number of steps done, this one included.
        values: The loss, the gradient's norm and each term, where they were computed.
        names: Of the terms.
        learning_rate: Learning rate of this step.
        seconds: Until this step was on its way, without the time that the caller took.
    """

    step: int
    values: Tensor
    names: tuple[str, ...]
    learning_rate: float
    seconds: float

    @cached_property
    def numbers(self) -> list[float]:
        """The values, once they are there: this waits for a GPU.

        Raises:
            NonFiniteError: One that is NaN or infinite.
        """
        loss, norm, *terms = self.values.tolist()
        named = [*zip(self.names, terms, strict=True), ("loss", loss), ("gradient norm", norm)]
        for name, value in named:
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"step {self.step}: {name} is {value}; the run stops with the parameters of "
                    f"the step before: lower learning_rate or max_gradient_norm, or look at the "
                    f"data"
                )
        return [loss, norm, *terms]

    @property
    def loss(self) -> float:
        """The weighted sum of the terms."""
        return self.numbers[0]

    @property
    def gradient_norm(self) -> float:
        """Before clipping."""
        return self.numbers[1]

    @property
    def terms(self) -> dict[str, float]:
        """Each term, in nats per dimension or as its objective defines it."""
        return dict(zip(self.names, self.numbers[2:], strict=True))


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
    """Returns Adam over a flow's parameters; the weights of networks decay apart from it.

    What decays takes couplings to the identity, so that the linear maps are left: a Gaussian.
    Source: Decoupled Weight Decay Regularization, 2019, https://arxiv.org/abs/1711.05101.
    """
    if not config.weight_decay:
        return torch.optim.Adam(flow.parameters(), lr=config.peak, fused=True)
    decaying = {
        id(parameter)
        for module in flow.modules()
        if isinstance(module, Conditioner)
        for parameter in module.parameters()
        if parameter.dim() > 1
    }
    groups: list[dict[str, Any]] = [
        {"params": [each for each in flow.parameters() if (id(each) in decaying) == decays],
         "weight_decay": config.weight_decay if decays else 0.0}
        for decays in (True, False)
    ]  # fmt: skip
    return torch.optim.AdamW(groups, lr=config.peak, fused=True)


def train(
    objective: nn.Module,
    batches: BatchSource,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    *,
    start: int = 0,
    average: AveragedFlow | None = None,
    horizon: Horizon | None = None,
    reads: Callable[[int], bool] = lambda _: True,
) -> Iterator[StepResult]:
    """Trains an objective, yielding after each step.

    Args:
        objective: A MaximumLikelihood or Distillation, or DDP around one.
        batches: The batch of each step.
        optimizer: Over the parameters of `objective.flow`.
        config: Number of steps and schedule.
        start: Steps already done; the run goes on with the very batch that comes next.
        average: Moving average of the weights, updated after each step; None for none.
        horizon: Where it ends, which may change between steps; default after `config.steps`.
        reads: Whether to look after so many steps at what they made, which waits for a GPU; default
            always. After a step that is not finite nothing changes any more, whenever it is seen.

    Raises:
        ConfigError: A precision, or whether to compile, that is still to be found.
        NonFiniteError: At the first term or gradient that is NaN or infinite; the parameters
            are then those of the step before.
    """
    horizon = horizon or Horizon(config)
    with computing(objective, config):
        yield from _steps(objective, batches, optimizer, config, start, average, horizon, reads)


def _steps(
    objective: nn.Module,
    batches: BatchSource,
    optimizer: torch.optim.Optimizer,
    config: TrainConfig,
    start: int,
    average: AveragedFlow | None,
    horizon: Horizon,
    reads: Callable[[int], bool],
) -> Iterator[StepResult]:
    inner: Any = getattr(objective, "module", objective)
    flow: Flow = inner.flow
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    device = parameters[0].device
    # With it an optimiser leaves out the steps after one that was not finite, without being asked.
    deferrable = getattr(optimizer, "_step_supports_amp_scaling", False)
    broken = torch.zeros((), device=device)
    unseen: list[StepResult] = []
    step = start
    while step < horizon.last:
        began = time.perf_counter()
        rate = horizon.learning_rate_at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = batches.batch(step).to(device)
        optimizer.zero_grad(set_to_none=True)
        values, names = _gradients(objective, batch, horizon.progress_at(step), config.accumulate)
        norm = nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm, foreach=True)
        values = torch.cat([values[:1], norm.detach()[None].to(values), values[1:]])
        done = StepResult(step + 1, values, names, rate, 0.0)
        unseen.append(done)
        if not deferrable or reads(step + 1):
            for each in unseen:
                each.numbers  # noqa: B018  raises
            unseen.clear()
        else:
            broken = torch.maximum(broken, 1 - values.isfinite().all().to(broken))
            optimizer.found_inf = broken  # type: ignore[attr-defined]
        optimizer.step()
        if average is not None:
            average.update(flow, step)
        step += 1
        done.seconds = time.perf_counter() - began
        yield done


def _gradients(
    objective: nn.Module, batch: Batch, progress: float, parts: int
) -> tuple[Tensor, tuple[str, ...]]:
    """Adds up the gradients of a batch's parts; returns loss and terms, and the terms' names."""
    whole: Any = objective
    total: Tensor | None = None
    pieces = batch.split(parts) if parts > 1 else [batch]
    for number, piece in enumerate(pieces, 1):
        waits = number < parts and hasattr(objective, "no_sync")  # DDP adds up once
        with whole.no_sync() if waits else nullcontext():
            losses = objective(piece, progress)
            (losses.total / parts).backward()
        made = [losses.total, *losses.terms.values()]
        values = torch.stack([each.detach() for each in made]) / parts
        total = values if total is None else total + values
        names = tuple(losses.terms)
    assert total is not None
    return total, names
