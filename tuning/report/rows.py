"""The trials of a search as rows of its page: the best beside the baselines, the best, failures."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from flowkd.report.comparison import percent
from tuning.hint_pairs import OFF
from tuning.records import Trial, best_of, ranked
from tuning.report.axes import whole_name
from tuning.report.summary import STATES
from tuning.trial_row import NAMES

ROWS = 10


class Standing(NamedTuple):
    """The best trial, or a baseline and how many bits per dimension the best has less."""

    name: str
    trial: str
    bits: str
    gain: str
    size: str
    share: str


class Row(NamedTuple):
    """A trial in the table of the best."""

    number: int
    name: str
    bits: str
    state: str
    size: str
    share: str
    throughput: str
    choices: list[tuple[str, str]]


def standings(trials: list[Trial], teacher_parameters: int) -> list[Standing]:
    """Returns the best trial, then the baselines, as far as they are, from the first trial on."""
    best = best_of(trials)
    baselines = [trial for role in NAMES for trial in trials if trial.start.role == role]
    if best is None:
        return [_standing(trial, None, teacher_parameters) for trial in baselines]
    others = [trial for trial in baselines if trial != best]
    first = _standing(best, None, teacher_parameters)
    name = f"the best: {first.name}" if best.start.role else "the best"
    return [
        first._replace(name=name),
        *(_standing(trial, best, teacher_parameters) for trial in others),
    ]


def _standing(trial: Trial, best: Trial | None, teacher_parameters: int) -> Standing:
    ended, size, role = trial.state == "finished", trial.start.parameter_count, trial.start.role
    gain = trial.bits_per_dim - best.bits_per_dim if ended and best else math.nan
    return Standing(
        NAMES[role] if role else "",
        str(trial.start.number),
        f"{trial.bits_per_dim:.4f}" if ended else STATES[trial.state],
        f"{gain:.4f}" if math.isfinite(gain) else "",
        f"{size:,}",
        percent(size / teacher_parameters),
    )


def best_and_baselines(trials: list[Trial]) -> list[Trial]:
    """Returns the best trials, and each baseline that is not among them."""
    order = ranked(trials)
    return order[:ROWS] + [trial for trial in order[ROWS:] if trial.start.role is not None]


def row_of(trial: Trial, teacher_parameters: int) -> Row:
    """Returns a trial as a row of the table of the best."""
    rate, size, role = trial.start.throughput, trial.start.parameter_count, trial.start.role
    return Row(
        number=trial.start.number,
        name=NAMES[role].removeprefix("the ") if role else "",
        bits=f"{trial.bits_per_dim:.4f}",
        state=trial.state if trial.state == "finished" else f"stopped at {trial.steps:,}",
        size=f"{size:,}",
        share=percent(size / teacher_parameters),
        throughput="" if rate is None else f"{rate:.2f}x",
        choices=[
            (whole_name(name), f"{value:.3g}" if isinstance(value, float) else str(value))
            for name, value in (trial.start.params or _given(trial)).items()
            if value != OFF
        ],
    )


def _given(trial: Trial) -> dict[str, Any]:
    """Returns what is told of a trial that has chosen nothing."""
    return {"learning_rate": trial.start.training["train"]["learning_rate"]}


def failures(trials: list[Trial]) -> list[tuple[str, list[int]]]:
    """Returns the reasons of failures, each with the numbers of the trials."""
    found: dict[str, list[int]] = {}
    for trial in trials:
        if trial.end and trial.state == "failed":
            found.setdefault(trial.end.reason, []).append(trial.start.number)
    return list(found.items())
