"""What a search may choose from, as it is written in YAML."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.distill.schedules import Cosine, Linear
from flowkd.distill.warmstart import WarmStart

Term = Literal["nll", "samples", "density", "latent", "hints", "log_det", "synthesis"]
AT_HINTS: tuple[Term, ...] = ("hints", "log_det")  # terms that count only where there are hints
WarmStartOrNone = Literal["none"] | WarmStart
Schedule = Literal["constant", "cosine", "linear"]
FieldValue = int | tuple[int, ...]


class LogUniform(Config):
    """A positive number, log-uniform.

    Attributes:
        low: The least.
        high: The most.
        points: How many values a grid takes, evenly spaced on the logarithm, both ends included.
    """

    low: float = Field(gt=0)
    high: float = Field(gt=0)
    grid_points: int = Field(3, ge=2)

    @model_validator(mode="after")
    def _in_order(self) -> LogUniform:
        if self.low >= self.high:
            raise ValueError(
                f"expected low below high; got low: {self.low:g}, high: {self.high:g}: write one "
                f"number if it is to be fixed"
            )
        return self

    def grid(self) -> list[float]:
        """Returns the values that a grid takes."""
        ratio, steps = self.high / self.low, self.grid_points - 1
        return [self.low, *(self.low * ratio ** (n / steps) for n in range(1, steps)), self.high]


class WeightSpace(LogUniform):
    """A term's weight and its schedule.

    Attributes:
        optional: Whether the term may be left out.
        schedules: `constant`; `cosine`, falling to 0; `rise`, from 0 in a straight line.
    """

    optional: bool = False
    schedules: tuple[Schedule, ...] = Field(("constant",), min_length=1)


class HintSpace(Config):
    """Which pairs of taps may be hints; chosen ones keep the order of both flows.

    Attributes:
        student: Taps of the student, each with a hint or without; by default the end of each step.
        teacher: Taps of the teacher; by default the end of each step.
        most: The most hints.
        channels: As a Hint's.
        normalize: As a Hint's; two values to choose between.
    """

    student: tuple[str, ...] | None = None
    teacher: tuple[str, ...] | None = None
    max_hints: int = Field(8, ge=1)
    channels: Literal["all", "active"] = "all"
    normalize: tuple[bool, ...] = Field((True,), min_length=1)


class ShapeSpace(Config):
    """The student's own shape: values to choose between, instead of those of its config.

    Each value is a number, or one for each level.
    """

    levels: tuple[int, ...] | None = Field(None, min_length=1)
    depth: tuple[FieldValue, ...] | None = Field(None, min_length=1)
    width: tuple[FieldValue, ...] | None = Field(None, min_length=1)
    inner: tuple[FieldValue, ...] | None = Field(None, min_length=1)


class SpaceConfig(Config):
    """All that a search may choose.

    Attributes:
        shape: Of the student.
        hints: None for no hints.
        weights: Of the terms: a number, or what to choose from; a term that is not named is left
            out, but for `nll`, of weight 1.
        warm_start: Ways to begin; those that a shape does not allow are not drawn for it.
        learning_rate: A number, or what to choose from.
    """

    shape: ShapeSpace = ShapeSpace()
    hints: HintSpace | None = None
    weights: dict[Term, Annotated[float, Field(ge=0)] | WeightSpace] = Field(default_factory=dict)
    warm_start: tuple[WarmStartOrNone, ...] = Field(("none",), min_length=1)
    learning_rate: Annotated[float, Field(gt=0)] | LogUniform

    @model_validator(mode="after")
    def _fits(self) -> SpaceConfig:
        at_hints = [name for name in AT_HINTS if self.weights.get(name)]
        if self.hints is not None and not at_hints:
            raise ValueError("expected a weight for hints or log_det with hints; got none")
        if self.hints is None and at_hints:
            raise ValueError(f"expected hints with a weight for {' and '.join(at_hints)}; got none")
        if not any(self._always(name) for name in ("nll", *self.weights)):
            raise ValueError(
                "expected a term that always counts, such as nll: 1; got only such as may be left "
                "out: there would be nothing to learn where all are"
            )
        if not self.choices:
            raise ValueError(
                "expected something to choose from, such as learning_rate: {low: 0.001, high: "
                "0.01}; got a single student: train it with flowkd submit distill"
            )
        return self

    def _always(self, name: Term) -> bool:
        weight = self.weights.get(name, 1.0 if name == "nll" else 0.0)
        if isinstance(weight, WeightSpace):
            return not weight.optional and name not in AT_HINTS
        return weight > 0 and name not in AT_HINTS

    @property
    def choices(self) -> list[str]:
        """The parts in which candidates may differ."""
        shape = [name for name, values in self.shape if values is not None and len(values) > 1]
        weights = [f"weights.{k}" for k, w in self.weights.items() if isinstance(w, WeightSpace)]
        others = {
            "hints": self.hints is not None,
            "warm_start": len(self.warm_start) > 1,
            "learning_rate": isinstance(self.learning_rate, LogUniform),
        }
        return [*shape, *weights, *(name for name, open_ in others.items() if open_)]


def scheduled(weight: float, schedule: Schedule) -> float | Cosine | Linear:
    """Returns a weight that follows a schedule."""
    if schedule == "cosine":
        return Cosine(start=weight)
    return Linear(end=weight) if schedule == "linear" else weight
