"""Configuration of a search's space: what is chosen for each trial, and from which values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.distillation.schedules import Cosine, Linear
from flowkd.distillation.warmstart import WarmStart

Term = Literal[
    "nll", "samples", "density", "latent", "hints", "log_det", "synthesis",
    "data_cycle", "noise_cycle", "cycle_hints", "reverse_kl",
]  # fmt: skip
AT_HINTS: tuple[Term, ...] = ("hints", "log_det", "cycle_hints")  # terms that need hints
WarmStartOrNone = Literal["none"] | WarmStart
Schedule = Literal["constant", "cosine", "linear"]
FieldValue = int | tuple[int, ...] | str


class LogUniform(Config):
    """A positive number, drawn log-uniformly.

    Attributes:
        low: The least value.
        high: The largest value.
        grid_points: Number of values of a grid, default 3.
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
        """Returns the values of a grid, evenly spaced on the logarithm, both ends included.

        >>> LogUniform(low=0.25, high=4.0).grid()
        [0.25, 1.0, 4.0]
        """
        ratio, steps = self.high / self.low, self.grid_points - 1
        return [self.low, *(self.low * ratio ** (n / steps) for n in range(1, steps)), self.high]


class WeightSpace(LogUniform):
    """The weight of a term of the loss, drawn log-uniformly, and its schedule.

    Attributes:
        optional: Whether the term may be left out; default false.
        schedules: Those to choose from: `constant` (default), `cosine` that falls to 0, and
            `linear` that rises from 0.
    """

    optional: bool = False
    schedules: tuple[Schedule, ...] = Field(("constant",), min_length=1)


class HintSpace(Config):
    """The pairs of taps that may be hints; those that are chosen keep the order of both flows.

    Attributes:
        student: Taps of the student, each with a hint or without; default the end of each step.
        teacher: Taps of the teacher; default the end of each step.
        max_hints: The most hints of a candidate, default 8.
        channels: `channels` of each hint; default `all`.
        normalize: Values of the hints' `normalize` to choose from; default `[true]`.
    """

    student: tuple[str, ...] | None = None
    teacher: tuple[str, ...] | None = None
    max_hints: int = Field(8, ge=1)
    channels: Literal["all", "active"] = "all"
    normalize: tuple[bool, ...] = Field((True,), min_length=1)


class ShapeSpace(Config):
    """Values to choose from for fields of the student's flow, instead of those of its config.

    Attributes:
        kind: Families of a table's flow, such as `[coupling, autoregressive]`; what its config
            says besides counts for those that have it.
        transform: What is done to each value: `affine`, `spline`.
        levels: Numbers of levels.
        depth: Numbers of steps; a tuple has one for each level, as in `width` and `inner`.
        width: Widths of the coupling networks' hidden layers.
        inner: Widths of their second hidden layer.
    """

    kind: tuple[Literal["coupling", "autoregressive", "glow"], ...] | None = Field(
        None, min_length=1
    )
    transform: tuple[Literal["affine", "spline"], ...] | None = Field(None, min_length=1)
    levels: tuple[int, ...] | None = Field(None, min_length=1)
    depth: tuple[FieldValue, ...] | None = Field(None, min_length=1)
    width: tuple[FieldValue, ...] | None = Field(None, min_length=1)
    inner: tuple[FieldValue, ...] | None = Field(None, min_length=1)


class SpaceConfig(Config):
    """All that is chosen for a trial.

    Attributes:
        shape: Fields of the student's flow; default none.
        hints: Pairs of taps; default no hints.
        weights: For each term of the loss a number, or a range to choose from. A term that is not
            named is left out, but for `nll`, which then has weight 1.
        warm_start: Ways for the student to begin; those that a shape does not allow are not chosen
            for it. Default `[none]`.
        learning_rate: A number, or a range to choose from.
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
        """Names of the parts in which candidates differ."""
        shape = [name for name, values in self.shape if values is not None and len(values) > 1]
        weights = [f"weights.{k}" for k, w in self.weights.items() if isinstance(w, WeightSpace)]
        others = {
            "hints": self.hints is not None,
            "warm_start": len(self.warm_start) > 1,
            "learning_rate": isinstance(self.learning_rate, LogUniform),
        }
        return [*shape, *weights, *(name for name, open_ in others.items() if open_)]


def scheduled(weight: float, schedule: Schedule) -> float | Cosine | Linear:
    """Returns a weight that follows a schedule.

    >>> scheduled(0.5, "linear")
    Linear(kind='linear', start=0.0, end=0.5, until=1.0)
    """
    if schedule == "cosine":
        return Cosine(start=weight)
    return Linear(end=weight) if schedule == "linear" else weight
