"""A search from its config to its report: trials, the best one trained in full, publication."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cluster.held import held
from cluster.local import connect
from cluster.storage import StorageConfig
from cluster.train.find_rate import rate_found
from flowkd.errors import FlowkdError
from flowkd.store.holdings import take_over
from flowkd.store.lease import Token, take
from tuning.baselines import ROLES, baselines, default_shape, finder, first_points
from tuning.callback import StatusCallback
from tuning.candidates import CandidateSpace
from tuning.config import SearchConfig
from tuning.final import conclude
from tuning.records import SearchRecords, Trial, place_of
from tuning.report.page import write_report
from tuning.shapes import Shape
from tuning.status import Status
from tuning.suggest import grid
from tuning.tune import TUNE, Point, run_trials


def search(
    config: SearchConfig,
    storage: StorageConfig,
    *,
    resume: bool = False,
    show: Callable[[Status], None] = lambda status: None,
    tell: Callable[[str], None] = lambda words: None,
) -> dict[str, Any] | None:
    """Runs a search to its end, from wherever it is, and writes its report.

    Its first trials are the plain student and the default distillation (`tuning.baselines`): its
    best is never worse than either.

    Args:
        config: The search.
        storage: Holds the teacher and the data set, and is written to.
        resume: Whether to go on with a search of this name; without, there must be none.
        show: Called with the search's status every few seconds.
        tell: Called with what was found before the trials, in words.

    Returns:
        The outcome, as `conclude` returns it.

    Raises:
        HeldError: Another process drives it.
        FencedError: Another process has taken it over, because this one stood still.
        ConfigError: A space that names what is not there, a budget that no student meets, a name
            that is taken; nothing has begun.
        FlowkdError: No trial could be trained to its end.
    """
    store = storage.store()
    records, given = SearchRecords(store, config.name), config
    records.check(given, resume)
    config = records.pin(given)
    candidates = CandidateSpace(config, store, records.read("throughputs.json"))
    points = grid(candidates.draw, config.trials) if config.algorithm == "grid" else []
    shape = default_shape(candidates)
    token = take(store, place_of(config.name))
    assert isinstance(token, Token)  # a search may always have more trials
    with held(token):
        take_over(token, leave_out=[TUNE])
        records = SearchRecords(store, config.name, token.number)
        records.open(given, config, resume)
        if candidates.rates:
            records.write(candidates.rates, "throughputs.json")
        outcome = _run(candidates, shape, records, storage, points, show, tell)
        token.finish(token.name)
    return outcome


def _run(
    candidates: CandidateSpace,
    shape: Shape,
    records: SearchRecords,
    storage: StorageConfig,
    points: list[Point],
    show: Callable[[Status], None],
    tell: Callable[[str], None],
) -> dict[str, Any] | None:
    """Runs a search that is open to its end, and returns its outcome."""
    config = candidates.config
    connect()
    count = len(ROLES) + (len(points) or config.trials)
    status = StatusCallback(config, records, show, count)
    status.write("searching")
    try:
        find = finder(candidates, lambda run: rate_found(run, storage, tell))
        first = baselines(candidates, shape, records, find)
        points = points or first_points(candidates, first)
        run_trials(candidates, records, storage, status, first, points, count)
        trials = records.trials()
        _check_some(config, trials)
        if config.final is not None:
            status.write("training the best")
        outcome = conclude(config, storage, trials, records)
    except BaseException as error:
        status.write(f"ended by {type(error).__name__}: {error}".rstrip(": "))
        raise
    write_report(config, records, trials, outcome)
    status.write("done", outcome)
    return outcome


def _check_some(config: SearchConfig, trials: list[Trial]) -> None:
    if any(trial.state == "finished" for trial in trials):
        return
    reasons = {trial.end.reason for trial in trials if trial.end and trial.end.reason}
    raise FlowkdError(
        f"search {config.name!r}: none of {len(trials)} trials was trained to its end; reasons: "
        f"{'; '.join(sorted(reasons)[:3]) or 'workers were lost: see the log of Ray'}"
    )
