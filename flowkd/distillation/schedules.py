"""How much each term of distillation counts, and how that changes while training goes on."""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import pairwise
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

    @property
    def largest(self) -> float:
        """The most that it ever is."""
        return self.start

    def at(self, progress: float) -> float:
        """Returns the weight after a share of the steps."""
        if progress >= self.until:
            return 0.0
        return self.start * 0.5 * (1 + math.cos(math.pi * progress / self.until))


class Linear(Config):
    """A weight that moves in a straight line from `start` to `end`, and stays there.

    Attributes:
        start: At the first step.
        end: From the share `until` of the steps on.
        until: Share of the steps after which the weight stays at `end`; default 1.
    """

    kind: Literal["linear"] = "linear"
    start: Amount = 0.0
    end: Amount
    until: float = Field(1.0, gt=0, le=1)

    @property
    def largest(self) -> float:
        """The most that it ever is."""
        return max(self.start, self.end)

    def at(self, progress: float) -> float:
        """Returns the weight after a share of the steps."""
        return self.start + (self.end - self.start) * min(1.0, progress / self.until)


class Piecewise(Config):
    """A weight that jumps from one value to the next, as population based training finds it.

    Attributes:
        values: One after the other.
        until: Up to which share of the steps each holds, in growing order; the last is 1.
    """

    kind: Literal["piecewise"] = "piecewise"
    values: tuple[Amount, ...] = Field(min_length=1)
    until: tuple[float, ...]

    @model_validator(mode="after")
    def _in_order(self) -> Piecewise:
        shares = (0.0, *self.until)
        growing = all(before < after for before, after in pairwise(shares))
        if len(self.until) != len(self.values) or not growing or self.until[-1] != 1:
            raise ValueError(
                f"expected until as growing shares, one for each of {len(self.values)} values, "
                f"the last of them 1; got {list(self.until)}"
            )
        return self

    @property
    def largest(self) -> float:
        """The most that it ever is."""
        return max(self.values)

    def at(self, progress: float) -> float:
        """Returns the weight after a share of the steps."""
        place = bisect_right(self.until, progress)
        return self.values[min(place, len(self.values) - 1)]


Scheduled = Cosine | Linear | Piecewise
Weight = Amount | Annotated[Scheduled, Field(discriminator="kind")]


# Terms of noise that is drawn for every row.
OF_NOISE = ("synthesis", "noise_cycle", "reverse_kl")


class LossWeights(Config):
    """Weights of the terms in the sum: constant, or a schedule over the training.

    A term of weight 0 is not computed.

    Attributes:
        nll: Likelihood of the data.
        samples: Likelihood of the teacher's samples.
        density: Distance of the log densities of student and teacher.
        latent: Distance of the latents.
        hints: Distance of the states at the hints.
        log_det: Distance of the log-determinants up to the hints.
        synthesis: Distance of what both make of the same noise.
        data_cycle: Distance of data from what the student decodes of the teacher's latents of
            them; CaloFlow II's x-term.
        noise_cycle: Distance of noise from the teacher's latents of what the student decodes of
            it; CaloFlow II's z-term.
        cycle_hints: Distance of the states at the hints on the way of these two.
        reverse_kl: Divergence of the student from the teacher on the student's own samples.
    """

    nll: Weight = 1.0
    samples: Weight = 0.0
    density: Weight = 0.0
    latent: Weight = 0.0
    hints: Weight = 0.0
    log_det: Weight = 0.0
    synthesis: Weight = 0.0
    data_cycle: Weight = 0.0
    noise_cycle: Weight = 0.0
    cycle_hints: Weight = 0.0
    reverse_kl: Weight = 0.0

    @model_validator(mode="after")
    def _some(self) -> LossWeights:
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
            name: weight.at(progress) if isinstance(weight, Scheduled) else weight
            for name, weight in weights.items()
        }

    @property
    def learns_from_teacher(self) -> bool:
        """Whether any term counts, at any time, that needs a teacher."""
        return self.ever(*(name for name in type(self).model_fields if name != "nll"))

    def ever(self, *names: str) -> bool:
        """Tells whether any of the terms counts at any time."""
        weights = [getattr(self, name) for name in names]
        return any(
            (weight.largest if isinstance(weight, Scheduled) else weight) > 0 for weight in weights
        )
