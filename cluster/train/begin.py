"""What every attempt at a run begins with: whether there is anything to do, its lease, and what."""

from __future__ import annotations

from collections.abc import Callable

from cluster.train.preflight import result_of
from flowkd.store.lease import Token
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.lease import take
from flowkd.training.resolve import resolve_run
from flowkd.training.resolved import ResolvedRun


def begin(
    config: TrainingConfig, store: Store, tell: Callable[[str], None]
) -> tuple[ResolvedRun, Token] | None:
    """Resolves a run and takes its lease; None where it is finished.

    Args:
        config: The training.
        store: Of data sets, runs and models.
        tell: Called with what was chosen where the config leaves it open, in words.

    Raises:
        ConfigError: The name is taken by a run of another config, or the config does not fit.
        HeldError: Another process trains it.
    """
    if result_of(config, store) is not None:
        return None
    run = resolve_run(config, store)
    token = take(store, config.name, config.train.least_steps)
    if token is None:
        return None
    for note in run.notes:
        tell(note)
    return run, token
