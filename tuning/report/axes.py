"""The parameters of a search as axes of plots, with what each trial chose."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuning.hint_pairs import ON
from tuning.records import Trial
from tuning.space import LogUniform, SpaceConfig
from tuning.suggest import Value

AXIS_ORDER = ("shape", "learning_rate", "warm_start", "weights", "hints", "hint", "place")
MAX_LETTERS = 30  # of a name beside a plot


@dataclass(frozen=True)
class Axis:
    """A parameter, and what each trial chose of it.

    Attributes:
        name: Name of the parameter, without the list of choices that the budget left.
        values: Value of each trial; None if it was not chosen.
        bounds: The least and the largest number; None for categories.
        log: Whether numbers are log-uniform.
    """

    name: str
    values: tuple[Value | None, ...]
    bounds: tuple[float, float] | None
    log: bool

    @property
    def categories(self) -> list[str]:
        """Categories that were chosen at least once, sorted; empty for a number."""
        if self.bounds is not None:
            return []
        return sorted({str(v) for v in self.values if v is not None}, key=_natural)

    @property
    def known(self) -> list[int]:
        """Indices of the trials that chose it."""
        return [place for place, value in enumerate(self.values) if value is not None]


def axes_of(trials: Sequence[Trial], space: SpaceConfig) -> list[Axis]:
    """Returns an axis for each parameter that any trial chose, sorted by what it belongs to."""
    chosen = [
        {whole_name(name): value for name, value in trial.start.params.items()} for trial in trials
    ]
    names = sorted({name for each in chosen for name in each}, key=_order)
    return [_axis(name, tuple(each.get(name) for each in chosen), space) for name in names]


def shortened(name: str) -> str:
    """Returns a name without its middle if it is longer than fits beside a plot."""
    return (
        name
        if len(name) <= MAX_LETTERS
        else f"{name[: MAX_LETTERS // 2]}...{name[3 - MAX_LETTERS // 2 :]}"
    )


def without_switches(axes: Sequence[Axis]) -> list[Axis]:
    """Returns the axes but for those that only tell whether another one has a value."""
    by_name = {axis.name: axis for axis in axes}

    def says_only(axis: Axis) -> bool:
        partner = axis.name.replace("hint.", "place.", 1)
        other = by_name.get(partner if partner != axis.name else f"{axis.name}.at")
        return other is not None and all(
            (mine == ON) == (value is not None)
            for mine, value in zip(axis.values, other.values, strict=True)
        )

    return [axis for axis in axes if not says_only(axis)]


def _axis(name: str, values: tuple[Value | None, ...], space: SpaceConfig) -> Axis:
    if any(isinstance(value, str) for value in values):
        return Axis(name, values, None, log=False)
    if name.startswith("place."):
        return Axis(name, values, (0.0, 1.0), log=False)
    asked = space.learning_rate
    if name.startswith("weights."):
        named = name.split(".")[1]
        asked = next((weight for term, weight in space.weights.items() if term == named), 0.0)
    numbers = [float(value) for value in values if value is not None]
    if isinstance(asked, LogUniform):
        numbers += [asked.low, asked.high]
    return Axis(name, values, (min(numbers), max(numbers)), log=min(numbers) > 0)


def whole_name(name: str) -> str:
    """Returns a parameter's name without the list of choices that the budget left.

    >>> whole_name("shape.width of 4, 6")
    'shape.width'
    """
    return name.split(" of ", 1)[0]


def _order(name: str) -> tuple[int, list[tuple[int, str]]]:
    group = name.split(".", 1)[0]
    return AXIS_ORDER.index(group) if group in AXIS_ORDER else len(AXIS_ORDER), _natural(name)


def _natural(text: str) -> list[tuple[int, str]]:
    """Returns a key that sorts numbers within text by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]
