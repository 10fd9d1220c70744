"""How much each term of distillation counts, and how that changes while training goes on."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from flowkd.config import Config

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Cosine(Config):
    """A weight that falls from `start` to 0 by half a cosine, so that others have the last word.

    Attributes:
        start: At the first step.
        until: Share of the steps after which it is 0.
    """

    kind: Literal["cosine"] = "cosine"
    start: float = Field(gt=0, allow_inf_nan=False)
    until: float = Field(1.0, gt=0, le=1)

    def at(self, progress: float) -> float:
        """Returns the weight after a share of the steps."""
        if progress >= self.until:
            return 0.0
        return self.start * 0.5 * (1 + math.cos(math.pi * progress / self.until))


class Ramp(Config):
    """A weight that moves in a straight line from `start` to `end`, and stays there.

    Attributes:
        start: At the first step.
        end: From the share `until` of the steps on.
        until: Where the line ends.
    """

    kind: Literal["ramp"] = "ramp"
    start: Amount = 0.0
    end: Amount
    until: float = Field(1.0, gt=0, le=1)

    def at(self, progress: float) -> float:
        """Returns the weight after a share of the steps."""
        return self.start + (self.end - self.start) * min(1.0, progress / self.until)


Weight = Amount | Annotated[Cosine | Ramp, Field(discriminator="kind")]


class Weights(Config):
    """Weights of the terms in the sum: constant, or a schedule over the training.

    A term of weight 0 is not computed, but for `nll`, which is then only reported.
    """

    nll: Weight = 1.0
    samples: Weight = 0.0
    density: Weight = 0.0
    latent: Weight = 0.0
    hints: Weight = 0.0
    log_det: Weight = 0.0
    synthesis: Weight = 0.0

    @model_validator(mode="after")
    def _some(self) -> Weights:
        if not any(self.ever(name) for name in type(self).model_fields):
            raise ValueError(
                "expected at least one term of a weight above 0; got none: there would be nothing "
                "to learn; valid terms are " + ", ".join(type(self).model_fields)
            )
        return self

    def at(self, progress: float) -> dict[str, float]:
        """Returns the weight of each term after a share of the steps."""
        weights = {name: getattr(self, name) for name in type(self).model_fields}
        return {
            name: weight.at(progress) if isinstance(weight, Cosine | Ramp) else weight
            for name, weight in weights.items()
        }

    def ever(self, *names: str) -> bool:
        """Tells whether any of the terms counts at any time."""
        weights = [getattr(self, name) for name in names]
        return any(
            weight.start > 0 or (isinstance(weight, Ramp) and weight.end > 0)
            if isinstance(weight, Cosine | Ramp)
            else weight > 0
            for weight in weights
        )
