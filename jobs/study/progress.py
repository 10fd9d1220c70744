"""How far studies are: which runs have ended, and which can begin now."""

from __future__ import annotations

from collections.abc import Sequence

from flowkd.errors import ConfigError
from flowkd.store.store import Store
from jobs.study.config import StudyConfig
from jobs.study.outcomes import Outcome, choose, find_outcome
from jobs.study.plan import PlannedRun, check_names, plan


def known_runs(
    configs: Sequence[StudyConfig], store: Store, outcomes: dict[str, Outcome]
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
    outcomes: dict[str, Outcome],
    *,
    replace: bool = False,
) -> list[PlannedRun]:
    """Looks up what has ended, as far as the plans reach, and returns the runs that can begin.

    Args:
        configs: The studies.
        store: Where runs lie.
        outcomes: Those known so far; is added to.
        replace: Remove a run whose config is another now, or whose teacher is newer.

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
    run: PlannedRun, store: Store, outcomes: dict[str, Outcome], replace: bool
) -> Outcome | None:
    try:
        return find_outcome(store, run, outcomes)
    except ConfigError:
        if not replace:
            raise
        store.remove("runs", run.config.name)
        return None
