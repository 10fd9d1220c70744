"""What a study's outcomes decide: the learning rate, matched steps, and the runs that can begin."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from flowkd.errors import ConfigError
from flowkd.store.sealed import read_sealed, write_sealed
from flowkd.store.store import Store
from jobs.studies.config import PLAIN, StudyConfig
from jobs.studies.outcomes import Outcomes, RunOutcome, find_outcome
from jobs.studies.plan import Choices, PlannedRun, check_names, plan

SHORTEST = 0.1  # CPU seconds: what a run's are rounded to


def choose(config: StudyConfig, outcomes: Outcomes, store: Store) -> Choices:
    """Returns the learning rate and the matched steps, as far as the outcomes decide them.

    Matched steps are decided once and kept in the store. Where the plain student fails with each
    learning rate, none is chosen.
    """
    candidates = [run for run in plan(config) if run.row.arm == PLAIN]
    if any(run.config.name not in outcomes for run in candidates):
        return Choices()
    best = min(candidates, key=lambda run: outcomes[run.config.name].validation)
    if outcomes[best.config.name].failed:
        return Choices()
    first = Choices(best.config.train.peak)
    return Choices(first.learning_rate, _matched_steps(config, first, outcomes, store))


def cpu_seconds(runs: list[PlannedRun], outcomes: Outcomes) -> dict[Any, float]:
    """Returns the CPU seconds of each row whose runs are all done, with intermediate flows."""
    spent: dict[Any, float] = {}
    for row in {run.row for run in runs if run.reported}:
        # Of the learning rates' candidates, which share a row, only the chosen one is counted.
        own = [run for run in runs if run.row == row and (run.reported or row.arm != PLAIN)]
        ends = [outcomes.get(run.config.name) for run in own]
        if all(end is not None and not end.failed for end in ends):
            spent[row] = sum(end.cpu_seconds for end in ends if end)
    return spent


def _matched_steps(
    config: StudyConfig, choices: Choices, outcomes: Outcomes, store: Store
) -> dict[str, int]:
    runs = plan(config, choices)
    if any(run.config.name not in outcomes for run in runs if run.row.arm == PLAIN):
        return {}
    spent = cpu_seconds(runs, outcomes)
    steps = {}
    for name, arm in config.arms.items():
        theirs = [run for run in runs if run.row.arm == arm.cpu_matched_to]
        if not theirs or any(run.config.name not in outcomes for run in theirs):
            continue
        seconds, plain = (
            [value for row, value in spent.items() if row.arm == of]
            for of in (arm.cpu_matched_to, PLAIN)
        )
        if seconds and plain:  # else all of them failed, and there is nothing to match
            ratio = fmean(seconds) / max(fmean(plain), SHORTEST)
            steps[name] = _kept(config, name, theirs[0], ratio, store)
    return steps


def _kept(config: StudyConfig, arm: str, run: PlannedRun, ratio: float, store: Store) -> int:
    """Returns an arm's matched steps, those in the store unless the matched run has changed."""
    path = ("studies", config.name, f"steps-{arm}.json")
    matched = run.config.model_dump(mode="json")
    if store.exists(*path):
        kept = read_sealed(store, *path)
        if kept["matched"] == matched:
            return int(kept["steps"])
    steps = max(1, round(config.student.train.steps * ratio))
    write_sealed(store, {"steps": steps, "cpu_ratio": ratio, "matched": matched}, *path)
    return steps


def known_runs(
    configs: Sequence[StudyConfig], store: Store, outcomes: dict[str, RunOutcome]
) -> list[PlannedRun]:
    """Returns the runs of all studies that are planned by now, each once, in order.

    Raises:
        ConfigError: Two runs of the same name.
    """
    planned = [run for config in configs for run in plan(config, choose(config, outcomes, store))]
    check_names(planned)
    return list({run.config.name: run for run in planned}.values())


def advance(
    configs: Sequence[StudyConfig],
    store: Store,
    outcomes: dict[str, RunOutcome],
    *,
    replace: bool = False,
) -> list[PlannedRun]:
    """Looks up what has ended, as far as the plans reach, and returns the runs that can begin.

    Args:
        configs: The studies.
        store: Holds the runs.
        outcomes: The outcomes known so far, by name; new ones are added.
        replace: Whether to remove runs whose config has changed, or whose teacher is newer.

    Raises:
        ConfigError: Such a run, unless it is to be replaced.
    """
    while True:
        ready, found = [], False
        for run in known_runs(configs, store, outcomes):
            name = run.config.name
            if name in outcomes or any(need not in outcomes for need in run.needs):
                continue
            outcome = _look_up(run, store, outcomes, replace)
            if outcome is None:
                ready.append(run)
            else:
                outcomes[name] = outcome
                found = True
        if not found:
            return ready


def _look_up(
    run: PlannedRun, store: Store, outcomes: dict[str, RunOutcome], replace: bool
) -> RunOutcome | None:
    try:
        return find_outcome(store, run, outcomes)
    except ConfigError:
        if not replace:
            raise
        store.remove("runs", run.config.name)
        return None
