"""Suggesters: what a candidate asks for each of its parameters, an Optuna trial or a grid."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import optuna
from optuna.samplers import BruteForceSampler
from optuna.trial import BaseTrial

from flowkd.errors import ConfigError

Value = str | float | bool
T = TypeVar("T")


class Suggester(Protocol):
    """Chooses the parameters of a candidate, one after the other, by name."""

    def categorical(self, name: str, choices: Sequence[str]) -> str:
        """Returns one of the choices, which are always the same for a name."""

    def number(
        self, name: str, low: float, high: float, grid: Sequence[float], log: bool = False
    ) -> float:
        """Returns a number from low to high, log-uniform if `log`; a grid takes one of `grid`."""


class OptunaSuggester:
    """Lets a trial of an Optuna study choose."""

    def __init__(self, trial: BaseTrial) -> None:
        self._trial = trial

    def categorical(self, name: str, choices: Sequence[str]) -> str:
        """Returns one of the choices."""
        return self._trial.suggest_categorical(name, list(choices))

    def number(
        self, name: str, low: float, high: float, grid: Sequence[float], log: bool = False
    ) -> float:
        """Returns a number from low to high."""
        return self._trial.suggest_float(name, low, high, log=log)


class _GridSuggester:
    """Chooses by index, for Optuna refuses choices that depend on what was chosen before.

    Attributes:
        indices: What was chosen, in order.
        parameters: The same, as values by name.
    """

    def __init__(self, trial: BaseTrial) -> None:
        self._trial = trial
        self.indices: list[int] = []
        self.parameters: dict[str, Value] = {}

    def categorical(self, name: str, choices: Sequence[str]) -> str:
        self.parameters[name] = chosen = choices[self._index(name, len(choices))]
        return chosen

    def number(
        self, name: str, low: float, high: float, grid: Sequence[float], log: bool = False
    ) -> float:
        self.parameters[name] = chosen = grid[self._index(name, len(grid))]
        return chosen

    def _index(self, name: str, count: int) -> int:
        self.indices.append(self._trial.suggest_int(name, 0, count - 1))
        return self.indices[-1]


def grid(draw: Callable[[Suggester], object], max_points: int) -> list[dict[str, Value]]:
    """Returns the parameters of every candidate, in the order of the choices.

    >>> def draw(suggester):
    ...     if suggester.categorical("hint", ["off", "on"]) == "on":
    ...         suggester.number("weight", 0.1, 10.0, [0.1, 1.0])
    >>> grid(draw, max_points=3)
    [{'hint': 'off'}, {'hint': 'on', 'weight': 0.1}, {'hint': 'on', 'weight': 1.0}]

    Args:
        draw: Asks a suggester for the parameters of a candidate.
        max_points: The most candidates.

    Raises:
        ConfigError: There are more.
    """
    found: list[_GridSuggester] = []

    def draw_next(trial: BaseTrial) -> float:
        if len(found) == max_points:
            raise ConfigError(
                f"expected a grid of at most trials = {max_points} points; got more: raise trials, "
                f"lower grid_points, or choose algorithm: tpe"
            )
        found.append(_GridSuggester(trial))
        draw(found[-1])
        return 0.0

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.create_study(sampler=BruteForceSampler(seed=0)).optimize(draw_next)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return [each.parameters for each in sorted(found, key=lambda each: each.indices)]


def suggest_one(
    suggester: Suggester, name: str, choices: Sequence[T], all_choices: Sequence[T]
) -> T:
    """Returns one of the choices that are left of all; a single one is not asked for.

    Where some are ruled out, the parameter's name lists those that are left: it is another one.
    """
    if len(choices) == 1:
        return choices[0]
    labels = {label(choice): choice for choice in choices}
    if len(choices) < len(all_choices):
        name = f"{name} of {', '.join(labels)}"
    return labels[suggester.categorical(name, list(labels))]


def label(value: object) -> str:
    """Returns a choice as text.

    >>> label((32, 16))
    '32-16'
    """
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
