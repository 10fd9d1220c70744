"""A trial in a line: as a status keeps it, and tables tell of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tuning.records import Role, Trial

NAMES: dict[Role, str] = {"default": "the default distillation", "plain": "the plain student"}


@dataclass(frozen=True)
class TrialRow:
    """A trial in the table.

    Attributes:
        number: Number of the trial.
        state: `running`, `finished`, `stopped`, `failed` or `lost`.
        step: Steps done.
        bits_per_dim: The best on the validation rows; None if there is none yet.
        parameter_count: Number of trainable values of its student.
        note: What was chosen, or why it failed.
        role: Which of the baselines it is; None for one that was drawn.
    """

    number: int
    state: str
    step: int
    bits_per_dim: float | None
    parameter_count: int
    note: str
    role: Role | None = None


def rows_of(trials: Iterable[Trial]) -> list[TrialRow]:
    """Returns a line for each trial that a search has kept."""
    return [
        TrialRow(
            trial.start.number,
            "running" if trial.end is None else trial.state,
            trial.steps,
            trial.bits_per_dim if math.isfinite(trial.bits_per_dim) else None,
            trial.start.parameter_count,
            trial.end.reason if trial.end and trial.end.reason else _note(trial),
            trial.start.role,
        )
        for trial in trials
    ]


def _note(trial: Trial) -> str:
    return note_of(trial.start.params, trial.start.role)


def note_of(parameters: dict[str, Any], role: Role | None = None) -> str:
    """Returns a trial's parameters on one line, without those that are off.

    >>> note_of({"learning_rate": 0.00312, "hint.step0": "off", "warm_start": "fold"})
    'learning_rate=0.00312 warm_start=fold'
    """
    chosen = [
        f"{name}={value:.3g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in parameters.items()
        if value != "off"
    ]
    return " ".join([*([NAMES[role]] if role else []), *chosen])
