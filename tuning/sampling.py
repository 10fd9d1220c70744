"""Who chooses: a sampler of Optuna, or a grid that takes every way through the space in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from optuna.trial import BaseTrial

from flowkd.errors import ConfigError

Value = str | float | bool
T = TypeVar("T")


class Chooser(Protocol):
    """Chooses the parameters of a candidate, one after the other, by name."""

    def among(self, name: str, choices: Sequence[str]) -> str:
        """Returns one of some choices, which are always the same for a name."""

    def between(
        self, name: str, low: float, high: float, grid: Sequence[float], log: bool = False
    ) -> float:
        """Returns a number; a grid takes one of its own values."""


class OptunaChooser:
    """A trial of an Optuna study chooses."""

    def __init__(self, trial: BaseTrial) -> None:
        self._trial = trial

    def among(self, name: str, choices: Sequence[str]) -> str:
        """Returns one of the choices."""
        return self._trial.suggest_categorical(name, list(choices))

    def between(
        self, name: str, low: float, high: float, grid: Sequence[float], log: bool = False
    ) -> float:
        """Returns a number between low and high."""
        return self._trial.suggest_float(name, low, high, log=log)


class _Path:
    """Takes one way through a space: at each fork the branch of its number, then the first."""

    def __init__(self, branches: Sequence[int]) -> None:
        self.branches = list(branches)
        self.widths: list[int] = []
        self.parameters: dict[str, Value] = {}

    def _take(self, name: str, values: Sequence[T]) -> T:
        place = len(self.widths)
        self.widths.append(len(values))
        if place == len(self.branches):
            self.branches.append(0)
        return values[self.branches[place]]

    def among(self, name: str, choices: Sequence[str]) -> str:
        self.parameters[name] = chosen = self._take(name, choices)
        return chosen

    def between(
        self, name: str, low: float, high: float, grid: Sequence[float], log: bool = False
    ) -> float:
        self.parameters[name] = chosen = self._take(name, grid)
        return chosen

    def next(self) -> list[int] | None:
        """Returns the branches of the next way, or None after the last."""
        for place in reversed(range(len(self.widths))):
            if self.branches[place] + 1 < self.widths[place]:
                return [*self.branches[:place], self.branches[place] + 1]
        return None


def all_ways(draw: Callable[[Chooser], object]) -> Iterator[dict[str, Value]]:
    """Yields the parameters of every candidate that a drawing function can draw."""
    branches: list[int] | None = []
    while branches is not None:
        path = _Path(branches)
        draw(path)
        yield path.parameters
        branches = path.next()


def grid(draw: Callable[[Chooser], object], most: int) -> list[dict[str, Value]]:
    """Returns the parameters of every candidate; raises ConfigError for more than `most`."""
    found: list[dict[str, Value]] = []
    for parameters in all_ways(draw):
        if len(found) == most:
            raise ConfigError(
                f"expected a grid of at most trials = {most} points; got more: raise trials, lower "
                f"points, or choose algorithm: tpe"
            )
        found.append(parameters)
    return found


def one_of(chooser: Chooser, name: str, choices: Sequence[T], everything: Sequence[T]) -> T:
    """Returns one of those choices that are left of all; nobody is asked where there is but one.

    Where some are ruled out the name tells which are left: then it is another parameter.
    """
    if len(choices) == 1:
        return choices[0]
    labels = {label(choice): choice for choice in choices}
    if len(choices) < len(everything):
        name = f"{name} of {', '.join(labels)}"
    return labels[chooser.among(name, list(labels))]


def label(value: object) -> str:
    """Returns a choice as text."""
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
