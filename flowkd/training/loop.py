"""The only training loop: a generator, so that its caller decides when to look, save and stop."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from flowkd.config import Config
from flowkd.data.batch import Batch, BatchSource
from flowkd.errors import ConfigError, NonFiniteError
from flowkd.flows.flow import Flow
from flowkd.nn import Conditioner

AUTO_STEPS = 100_000  # the most of a training that ends by itself
# Validations before the last gain, where a guess is needed: 3,500 steps by the other defaults, the
# geometric mean of the fewest that there can be, 1,500, and the 8,000 of a demanding data set.
LIKELY_GAINS = 9


class PlateauConfig(Config):
    """When a training has learnt enough, so that its learning rate falls and it ends.

    Attributes:
        patience: So many validations without a gain, neither on the best nor, as after a leap of
            the loss, on the one before.
        min_gain: Bits per dimension that count as one.
        decay_share: Steps of the fall, as a share of those before; default as many, for most is
            learnt in the fall.
    """

    patience: int = Field(5, ge=1)
    min_gain: float = Field(0.005, ge=0)
    decay_share: float = Field(1.0, gt=0)


LearningRate = Annotated[float, Field(gt=0)] | Literal["find"]


class TrainConfig(Config):
    """How to optimise.

    Attributes:
        steps: Number of optimiser steps, or `auto`, the default: until a plateau of validation.
        learning_rate: Peak of the learning rate, or `find`, the default: short trainings on data
            alone choose it by validation.
        warmup_steps: Steps of linear rise to the peak.
        schedule: After the rise: a half cosine down to the last learning rate, or constant. With
            `plateau`, the rate is constant until there is one.
        min_learning_rate_ratio: The last learning rate as a share of the peak.
        max_gradient_norm: A gradient of a larger norm is scaled down to it.
        weight_decay: Each step shrinks the weights of the networks by this share of the learning
            rate; left out, validation chooses it with `learning_rate: find` for few rows, else 0.
        ema_decay: Decay of the averaged weights, which are what is evaluated and published.
        memory: `ordinary`, the default and the faster one, keeps what each layer makes until its
            gradient is computed; `reversible` computes it from the result by the flow's inverse,
            so that memory hardly grows with depth. The gradients are the same but for rounding.
        precision: Of the networks within couplings: `float32`, the default, with which a training
            is the same on every machine; `bf16`; or `auto`, the one of which a step takes less time
            on the machine that trains, measured before. All else is float32 in any case: the
            state between them, log-determinants, parameters, optimiser, validation.
        accumulate: In so many parts, one after the other, each worker computes its batch, which
            takes as much less memory; the gradient is that of the whole batch. Default 1.
        plateau: With it, `steps` are the most, and validation says when to end; default none,
            unless steps are `auto`.
    """

    steps: int = Field(AUTO_STEPS, ge=1)
    learning_rate: LearningRate = "find"
    warmup_steps: int = Field(100, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    min_learning_rate_ratio: float = Field(0.01, ge=0, le=1)
    max_gradient_norm: float = Field(5.0, gt=0)
    weight_decay: float | None = Field(None, ge=0)
    ema_decay: float = Field(0.995, ge=0, lt=1)
    memory: Literal["ordinary", "reversible"] = "ordinary"
    precision: Literal["float32", "bf16", "auto"] = "float32"
    accumulate: int = Field(1, ge=1)
    plateau: PlateauConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _ends_by_itself(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("steps", "auto") != "auto":
            return values
        plateau = values.get("plateau")
        return {**values, "steps": AUTO_STEPS, "plateau": {} if plateau is None else plateau}

    @property
    def least_steps(self) -> int:
        """The fewest steps of a training that has come to its end."""
        return self.steps if self.plateau is None else 1

    def likely_steps(self, validate_every: int) -> int:
        """Returns about how many steps it takes: a guess, where it ends by itself."""
        if self.plateau is None:
            return self.steps
        validations = LIKELY_GAINS + self.plateau.patience
        likely = math.ceil((1 + self.plateau.decay_share) * validations * validate_every)
        return min(self.steps, likely)

    @property
    def peak(self) -> float:
        """The highest learning rate; it has been found before anything is trained."""
        assert self.learning_rate != "find"
        return self.learning_rate


@dataclass
class Horizon:
    """How far a training goes and where its learning rate falls: fixed, or as validation says.

    Attributes:
        config: How to optimise.
        falls_from: Steps before the learning rate falls; None as long as that is open.
        last: Steps at the end, as far as it is known.
        gained: Bits per dimension of the last validation that was a gain.
        waited: Validations since, without those by which a training recovers from a leap.
        before: Bits per dimension of the validation before.
    """

    config: TrainConfig
    falls_from: int | None = None
    last: int = 0
    gained: float = math.inf
    waited: int = 0
    before: float = math.inf

    def __post_init__(self) -> None:
        self.last = self.last or self.config.steps
        if self.config.plateau is None:
            self.falls_from = self.config.warmup_steps

    @property
    def found(self) -> bool:
        """Whether validation has said where the training ends."""
        return self.config.plateau is not None and self.falls_from is not None

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        config = self.config
        rise = min(1.0, (step + 1) / (config.warmup_steps + 1))
        if self.falls_from is None or (config.schedule == "constant" and config.plateau is None):
            return config.peak * rise
        share = min(1.0, max(0, step - self.falls_from) / max(1, self.last - self.falls_from))
        fall = config.min_learning_rate_ratio + (1 - config.min_learning_rate_ratio) * 0.5 * (
            1 + math.cos(math.pi * share)
        )
        return config.peak * rise * fall

    def progress_at(self, step: int) -> float:
        """Returns the share of the training by which weights of loss terms change.

        Where its end is open, it is 0 until the learning rate falls.
        """
        if self.config.plateau is None:
            return step / self.config.steps
        if self.falls_from is None:
            return 0.0
        return (step - self.falls_from) / (self.last - self.falls_from)

    def reached(self, step: int, bits: float) -> bool:
        """Tells after a validation whether there is a plateau: the learning rate falls from here.

        Args:
            step: Steps done.
            bits: Bits per dimension of validation after them.
        """
        plateau = self.config.plateau
        if plateau is None or self.falls_from is not None:
            return False
        if bits < self.gained - plateau.min_gain:
            self.gained, self.waited = bits, 0
        elif not bits < self.before - plateau.min_gain:
            self.waited += 1
        self.before = bits
        most = self.config.steps / (1 + plateau.decay_share)
        if self.waited < plateau.patience and step < most:
            return False
        self.falls_from = step
        self.last = min(self.config.steps, step + math.ceil(plateau.decay_share * step))
        return self.last > step

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint holds of it."""
        keys = ("falls_from", "last", "gained", "waited", "before")
        return {key: getattr(self, key) for key in keys}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint; an end that the config sets stays the config's."""
        if self.config.plateau is not None:
            for key, value in state.items():
                setattr(self, key, value)


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
        ConfigError: A precision that is still to be found.
        NonFiniteError: At the first term or gradient that is NaN or infinite; the parameters
            are then those of the step before.
    """
    inner: Any = getattr(objective, "module", objective)
    flow: Flow = inner.flow
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    device = parameters[0].device
    horizon = horizon or Horizon(config)
    flow.reversible = config.memory == "reversible"
    if config.precision == "auto":
        raise ConfigError(
            "train.precision: expected float32 or bf16 here, where nothing measures it; got auto"
        )
    flow.precision = config.precision
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
