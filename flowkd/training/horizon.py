"""The end of a training: given, or where validation gains no more; and the rate until then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flowkd.training.train_config import TrainConfig


@dataclass
class Horizon:
    """How far a training goes and where its learning rate falls: fixed, or as validation says.

    Where validation says it, the learning rate falls once in each of several cycles, each longer
    than the one before (Loshchilov and Hutter 2017, arXiv 1608.03983). A training whose last cycles
    have gained too little on those before is at its end. What a flow reaches is compared after
    falls of the rate, for most is learnt in them, and noise hides it before; a leap of the loss may
    still cost a cycle.

    Attributes:
        config: How to optimise.
        validate_every: Steps between validations.
        began: Steps before this cycle.
        last: Steps at the end of this cycle.
        best: Fewest bits per dimension of a validation in this cycle.
        before: Fewest in the last cycle that gained.
        waited: Cycles since.
        ended: Whether validation has said that this cycle is the last.
    """

    config: TrainConfig
    validate_every: int = 1
    began: int = 0
    last: int = 0
    best: float = math.inf
    before: float = math.inf
    waited: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        plateau = self.config.plateau
        first = self.config.steps if plateau is None else plateau.first_cycle * self.validate_every
        self.last = self.last or self._end_of(first)

    @property
    def found(self) -> bool:
        """Whether the training ends with this cycle, as validation or the most steps have said."""
        if self.config.plateau is None:
            return False
        return self.ended or self.last >= self.config.most_steps

    def learning_rate_at(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        config, done, length = self.config, step - self.began, self.last - self.began
        warmup = config.warmup_steps
        if config.plateau is not None:
            warmup = min(warmup, length // 4)  # a first cycle of few rows is short
        rise = min(1.0, (done + 1) / (warmup + 1))
        if config.schedule == "constant" and config.plateau is None:
            return config.peak * rise
        share = min(1.0, max(0, done - warmup) / max(1, length - warmup))
        fall = config.min_learning_rate_ratio + (1 - config.min_learning_rate_ratio) * 0.5 * (
            1 + math.cos(math.pi * share)
        )
        return config.peak * rise * fall

    def progress_at(self, step: int) -> float:
        """Returns the share of the cycle, or training, by which weights of loss terms change."""
        return (step - self.began) / (self.last - self.began)

    def validated(self, step: int, bits: float) -> None:
        """Takes note of a validation; after the last of a cycle, another begins or none does.

        Args:
            step: Steps done.
            bits: Bits per dimension of validation after them.
        """
        plateau = self.config.plateau
        if plateau is None or self.ended:
            return
        self.best = min(self.best, bits)
        if step < self.last:
            return
        if self.best < self.before - plateau.min_gain:
            self.before, self.waited = self.best, 0
        else:
            self.waited += 1
        enough = self.waited >= plateau.patience and step >= self.config.least_steps
        if enough or step >= self.config.most_steps:
            self.ended = True
            return
        self.best = math.inf
        length, self.began = step - self.began, step
        self.last = self._end_of(math.ceil(plateau.growth * length))

    def _end_of(self, length: int) -> int:
        """Returns the end of a cycle that begins now: no shorter one is to be left after it."""
        most = self.config.most_steps
        end = self.began + length
        return most if most - end < length else end

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint holds of it."""
        return {
            key: getattr(self, key)
            for key in ("began", "last", "best", "before", "waited", "ended")
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint; an end that the config sets stays the config's."""
        if self.config.plateau is not None:
            for key, value in state.items():
                setattr(self, key, value)
