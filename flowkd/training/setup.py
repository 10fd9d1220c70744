"""From a run's config to a run in progress, and to its result: without any cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator

from torch import Tensor

from flowkd.distillation.warmstart import warm_start
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import begin_without_checkpoints
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import RunData, Worker, load_data
from flowkd.training.lease import take
from flowkd.training.lease_keeper import LeaseKeeper
from flowkd.training.loop import AveragedFlow, StepResult, make_optimizer
from flowkd.training.metrics_log import RunLog
from flowkd.training.resolve import CALIBRATION_ROWS, ResolvedRun, record_run, resolve_run
from flowkd.training.run import Run
from flowkd.training.teacher_data import gather_inputs


def prepare_run(
    run: ResolvedRun, data: RunData, worker: Worker | None = None, flow: Flow | None = None
) -> Run:
    """Builds all that a training needs, equal on all workers but for each one's rows.

    Args:
        run: What to train.
        data: Flows and rows, as `load_data` reads them.
        worker: Which of the workers this is; default the only one, on the CPU.
        flow: What is trained; default a new one of the run's config and seed, with its warm start.
            Parameters that depend on data are set unless they have been.

    Raises:
        ConfigError: Targets that are more than the cache's limit.
        DataError: Rows that are missing or damaged.
        NonFiniteError: A teacher without a finite sample, where samples are learnt from.
    """
    began, worker = time.process_time(), worker or Worker()
    given, flow = flow, flow or build_flow(run.flow, seed=run.config.seed)
    objective = run.build_objective(flow, data.teacher).to(worker.device)
    inputs = gather_inputs(run, data, worker)
    first = inputs.calibration
    if given is None or not flow.initialized:
        flow.initialize(first.x[:CALIBRATION_ROWS], _rows(first.context, CALIBRATION_ROWS))
    if given is None:
        _warm_start(run, data.source, flow, first.x, first.context)
    average = AveragedFlow(flow, run.config.train.ema_decay)
    return Run(
        resolved=run,
        objective=objective,
        optimizer=make_optimizer(flow, run.config.train),
        average=average,
        inputs=inputs,
        best=average.flow.state_dict(),
        dropped=inputs.dropped,
        began=began,
    )


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
    run = prepare_run(resolved, load_data(resolved, store))
    token = take(store, config.name, config.train.steps)
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


def _warm_start(
    run: ResolvedRun, source: Flow | None, flow: Flow, x: Tensor, context: Tensor | None
) -> None:
    """Sets a flow's parameters from those of the flow that it begins from, if there is one."""
    distillation = run.config.distillation
    if distillation is None or distillation.warm_start == "none":
        return
    assert source is not None
    assert run.source is not None
    source = source.to(x.device)
    warm_start(distillation.warm_start, flow, run.flow, source, run.source.flow, x, context)


def _rows(values: Tensor | None, count: int) -> Tensor | None:
    return None if values is None else values[:count]
