"""The end of a training: given, or a plateau of validation; and the learning rate until then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from flowkd.training.train_config import TrainConfig


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
        validations: How many there were.
    """

    config: TrainConfig
    falls_from: int | None = None
    last: int = 0
    gained: float = math.inf
    waited: int = 0
    before: float = math.inf
    validations: int = 0

    def __post_init__(self) -> None:
        self.last = self.last or self.config.most_steps
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
        self.validations += 1
        earliest = self.config.least_steps / (1 + plateau.decay_share)
        most = self.config.most_steps
        latest = most / (1 + plateau.decay_share)
        patience = max(plateau.patience, plateau.patience_share * self.validations)
        if step < earliest or (self.waited < patience and step < latest):
            return False
        self.falls_from = step
        self.last = min(most, step + math.ceil(plateau.decay_share * step))
        return self.last > step

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint holds of it."""
        keys = ("falls_from", "last", "gained", "waited", "before", "validations")
        return {key: getattr(self, key) for key in keys}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint; an end that the config sets stays the config's."""
        if self.config.plateau is not None:
            for key, value in state.items():
                setattr(self, key, value)
