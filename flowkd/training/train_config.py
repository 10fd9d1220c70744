"""How a flow is trained: steps, learning rate, its schedule, precision and memory."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from flowkd.config import Config

AUTO_STEPS = 100_000  # the most of a training that ends by itself
# Cycles, where a guess is needed: 31,000 steps by the other defaults, between the 3,000 that are
# the fewest and the 63,000 of a demanding table.
LIKELY_CYCLES = 5


class PlateauConfig(Config):
    """When a training has learnt enough: a longer cycle of the learning rate gains nothing more.

    In each cycle the rate rises to its peak and falls by half a cosine; and so does what changes
    with the share of a training that is done, such as the weights of loss terms.

    Attributes:
        first_cycle: Validations in the first.
        growth: So many times as long is each further one.
        min_gain: Bits per dimension, of the best validation of a cycle on that of the last one that
            gained as much.
        patience: Cycles without, after which the training ends.
        least_steps: Of the whole training, however little a cycle gains; left out, none.
        most_steps: Of the whole training; left out, `steps`, or for a flow of pictures that the
            data chose what the run's `minutes` suffice for. Where both are left out, a flow takes
            as many steps, in one cycle, as the larger flow that it learns from or is smaller than.
    """

    first_cycle: int = Field(5, ge=1)
    growth: float = Field(2.0, ge=1)
    min_gain: float = Field(0.005, ge=0)
    patience: int = Field(2, ge=1)
    least_steps: int | None = Field(None, ge=1)
    most_steps: int | None = Field(None, ge=1)


LearningRate = Annotated[float, Field(gt=0)] | Literal["find"]


class TrainConfig(Config):
    """How to optimise.

    Attributes:
        steps: Number of optimiser steps, or `auto`, the default: until a plateau of validation.
        learning_rate: Peak of the learning rate, or `find`, the default: short trainings on data
            alone choose it by validation.
        warmup_steps: Steps of linear rise to the peak.
        schedule: After the rise: a half cosine down to the last learning rate, or constant. With
            `plateau`, half a cosine in each cycle.
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
        compile: Whether torch.compile makes one program of the terms and their gradient, which it
            takes a minute or more for, and which CUDA replays as one graph on a GPU, where a worker
            is alone and accumulates nothing. `false`, the default, with which a training is the
            same on every machine; `auto` measures it on a GPU, before, and takes it where the run
            wins back the time that it takes to build; on CPUs, where it was never faster, `false`.
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
    compile: bool | Literal["auto"] = False
    accumulate: int = Field(1, ge=1)
    plateau: PlateauConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _ends_by_itself(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("steps", "auto") != "auto":
            return values
        plateau = values.get("plateau")
        return {**values, "steps": AUTO_STEPS, "plateau": {} if plateau is None else plateau}

    @model_validator(mode="after")
    def _compiles(self) -> TrainConfig:
        if self.compile is True and self.memory == "reversible":
            raise ValueError(
                "expected compile: false with memory: reversible, whose gradient no graph can have;"
                " got true: leave one of them out"
            )
        return self

    @property
    def least_steps(self) -> int:
        """The fewest steps of a training that has come to its end."""
        if self.plateau is None:
            return self.steps
        return min(self.most_steps, self.plateau.least_steps or 1)

    @property
    def most_steps(self) -> int:
        """The most steps that a training may take."""
        if self.plateau is None or self.plateau.most_steps is None:
            return self.steps
        return min(self.steps, self.plateau.most_steps)

    def with_plateau(self, **changes: int) -> TrainConfig:
        """Returns a config whose plateau, which it has, has other values."""
        assert self.plateau is not None
        return self.model_copy(update={"plateau": self.plateau.model_copy(update=changes)})

    def likely_steps(self, validate_every: int) -> int:
        """Returns about how many steps it takes: a guess, where it ends by itself."""
        if self.plateau is None:
            return self.steps
        cycles = sum(self.plateau.growth**number for number in range(LIKELY_CYCLES))
        likely = math.ceil(cycles * self.plateau.first_cycle * validate_every)
        return min(self.most_steps, max(self.least_steps, likely))

    @property
    def peak(self) -> float:
        """The highest learning rate; it has been found before anything is trained."""
        assert self.learning_rate != "find"
        return self.learning_rate
