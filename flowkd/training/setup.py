"""From a run's config to its result, in this process: without any cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.find_rate import with_rate
from flowkd.training.inputs import load_data
from flowkd.training.loop import StepResult
from flowkd.training.metrics_log import RunLog
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import record_run, resolve_run


def run_in_process(
    config: TrainingConfig, store: Store, commit: str | None = None
) -> Iterator[StepResult]:
    """Trains in this process, without Ray: yields the steps; writes config, metrics and result.

    Args:
        config: What to train; a run that cannot begin leaves nothing in the store.
        store: The store that data are read from, and metrics and result written to.
        commit: Of the code, for the result's lineage.

    Raises:
        FlowkdError: What `resolve_run`, `prepare_run` and the training raise.
    """
    began = time.perf_counter()
    resolved = resolve_run(config, store)
    data = load_data(resolved, store)
    resolved = with_rate(resolved, data, store)
    run = prepare_run(resolved, data)
    record_run(config, resolved, store)
    with RunLog(store, config.name) as log:
        for result in run.steps():
            line = run.record(result)
            if line:
                log.append(line)
            yield result
    run.finish(store, time.perf_counter() - began, commit)
