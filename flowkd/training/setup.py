"""From a run's config to its result, in this process: without any cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flowkd.store.lease_keeper import LeaseKeeper
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import begin_without_checkpoints
from flowkd.training.choices.rate import with_rate
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import keeping_shards, load_data
from flowkd.training.lease import take
from flowkd.training.logs.metrics import RunLog
from flowkd.training.loop import StepResult
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import record_run, resolve_run


def run_in_process(
    config: TrainingConfig, store: Store, commit: str | None = None
) -> Iterator[StepResult]:
    """Trains in this process, without Ray: yields the steps; writes config, metrics and result.

    Args:
        config: What to train; a run that cannot begin leaves nothing in the store, and one that is
            finished has no steps left.
        store: The store that data are read from, and metrics and result written to.
        commit: Of the code, for the result's lineage.

    Raises:
        HeldError: Another process trains it.
        FencedError: Another process has taken it over, because this one stood still.
        FlowkdError: What `resolve_run`, `prepare_run` and the training raise.
    """
    began = time.perf_counter()
    resolved = resolve_run(config, store)
    data = load_data(resolved, store)
    with keeping_shards(resolved, data):
        resolved = with_rate(resolved, data, store)
        run = prepare_run(resolved, data)
    token = take(store, config.name, config.train.least_steps)
    if token is None:
        return
    with LeaseKeeper(token) as keeper:
        record_run(config, resolved, store)
        begin_without_checkpoints(token)
        with RunLog(store, config.name, token=token.number) as log:
            for result in run.steps():
                keeper.check()
                line = run.record(result)
                if line:
                    log.append(line)
                yield result
        run.finish(store, time.perf_counter() - began, token, commit)
