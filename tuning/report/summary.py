"""A search in words: its outcome, and what was searched."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from flowkd.evaluation.figures import FlowFigures
from flowkd.report.caveats import first_lines, with_error
from flowkd.report.comparison import by_role, percent
from tuning.config import BudgetConfig, SearchConfig
from tuning.final import gain_over
from tuning.gains import gained_over
from tuning.records import Trial, best_of
from tuning.trial_row import NAMES, rows_of

ALGORITHMS = {
    "tpe": "multivariate tree-structured Parzen estimator",
    "random": "random",
    "grid": "every point of a grid",
    "pbt": "population based training of a random population",
}
STATES = {
    "finished": "finished",
    "stopped": "stopped early",
    "failed": "failed",
    "begun": "not ended",
}


def search_headline(
    config: SearchConfig,
    trials: list[Trial],
    outcome: Mapping[str, Any] | None,
    teacher_parameters: int,
) -> str:
    """Returns the outcome in a few sentences."""
    if outcome is not None:
        return _concluded(outcome, figures_of(outcome))
    best = best_of(trials)
    if best is None:
        return f"Nothing was concluded: {_none_finished(trials)}."
    share = percent(best.start.parameter_count / teacher_parameters)
    who = NAMES[best.start.role] if best.start.role else f"trial {best.start.number}"
    gained = gained_over(rows_of(trials))
    finished = _count(trials)["finished"]
    told = (
        f"The best of {finished} finished trial{'s' if finished > 1 else ''}, {who}, has "
        f"{best.bits_per_dim:.3f} bits per dimension on the validation rows"
        f"{f' ({gained})' if gained else ''}, with {share} of the teacher's parameters."
    )
    end = "Nothing was to be trained in full." if config.final is None else "Nothing is concluded."
    return f"{told} {end}"


def figures_of(outcome: Mapping[str, Any]) -> dict[str, FlowFigures]:
    """Returns the figures of an outcome, by role."""
    return {label: FlowFigures.read(values) for label, values in outcome["figures"].items()}


def search_facts(config: SearchConfig, trials: list[Trial]) -> dict[str, str]:
    """Returns what was searched, and how, for the page's list."""
    counts = _count(trials)
    states = ", ".join(f"{counts[state]} {name}" for state, name in STATES.items() if counts[state])
    seconds = sum(trial.end.seconds for trial in trials if trial.end)
    return {
        "teacher": config.teacher,
        "data set": config.dataset,
        "budget": _budget(config.budget),
        "algorithm": f"{ALGORITHMS[config.algorithm]}, seed {config.seed}",
        "objectives": " and ".join(name.replace("_per_dim", "/dim") for name in config.objectives),
        "early stopping": _stopping(config),
        "trials": f"{_of_all(config, trials)}: {states or 'none'}",
        "steps of a trial": f"{config.train.steps:,}",
        "validated on": f"{config.validation_rows:,} rows",
        "training": f"{seconds:,.0f} seconds over all trials",
    }


def _of_all(config: SearchConfig, trials: list[Trial]) -> str:
    """Returns how many trials have begun, of how many if that is known."""
    first = sum(trial.start.role is not None for trial in trials)
    drawn = len(trials) - first
    of = f" of {config.trials}" if config.algorithm != "grid" else ""
    return f"{first} baselines and {drawn}{of} candidates"


def _concluded(outcome: Mapping[str, Any], figures: Mapping[str, FlowFigures]) -> str:
    teacher, plain, best = by_role(figures).values()
    default = figures.get("default")
    became = (
        f"It is published as {outcome['published']}."
        if outcome["published"]
        else f"It is not published: {outcome['refused']}."
    )
    told = (
        f"The best student has {percent(best.parameters / teacher.parameters)} of the teacher's "
        f"parameters and {_bits(best)} bits per dimension on the test split; trained without the "
        f"teacher it has {_bits(plain)}, and the teacher has {_bits(teacher)}."
    )
    gained = [*_gain("Distillation", plain, best)]
    if default is not None:
        gained += _gain("The search, over the default distillation,", default, best)
    return " ".join([*first_lines(by_role(figures)), told, *gained, became])


def _bits(flow: FlowFigures) -> str:
    error = f" ± {flow.standard_error:.3f}" if math.isfinite(flow.standard_error) else ""
    return f"{flow.bits_per_dim:.3f}{error}"


def _gain(what: str, other: FlowFigures, best: FlowFigures) -> list[str]:
    """Returns what was gained over another flow on the same rows, where it is known by group."""
    gain = gain_over(other, best)
    if not gain.known:
        return []
    unsure = ", which may be chance" if gain.nothing else ""
    return [f"{what} gained {with_error(gain)} on the same rows{unsure}."]


def _none_finished(trials: list[Trial]) -> str:
    if not trials:
        return "no trial has begun"
    if len(trials) == 1:
        return "its only trial was not trained to its end"
    return f"none of {len(trials)} trials was trained to its end"


def _count(trials: list[Trial]) -> Counter[str]:
    return Counter(trial.state for trial in trials)


def _budget(budget: BudgetConfig) -> str:
    if budget.parameters is not None:
        return f"at most {budget.parameters:,} parameters"
    if budget.parameters_share is not None:
        return f"at most {budget.parameters_share * 100:.4g}% of the teacher's parameters"
    return f"at least {budget.throughput_ratio:g} times the teacher's throughput"


def _stopping(config: SearchConfig) -> str:
    if config.first_rung is None or config.stopping is None:
        return "none"
    return (
        f"from step {config.first_rung:,} on, one of {config.stopping.reduction_factor:g} goes on"
    )
