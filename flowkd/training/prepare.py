"""From a resolved run and its data to a run that can be trained."""

from __future__ import annotations

import time
import warnings

from torch import Tensor

from flowkd.distillation.warmstart import WorseThanNewError, warm_start
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.training.horizon import Horizon
from flowkd.training.inputs import RunData, RunInputs, Worker
from flowkd.training.loop import AveragedFlow, make_optimizer
from flowkd.training.resolved import CALIBRATION_ROWS, ResolvedRun
from flowkd.training.run import Run
from flowkd.training.teacher_data import gather_inputs


def prepare_run(
    run: ResolvedRun,
    data: RunData,
    worker: Worker | None = None,
    flow: Flow | None = None,
    inputs: RunInputs | None = None,
) -> Run:
    """Builds all that a training needs, equal on all workers but for each one's rows.

    Args:
        run: What to train.
        data: Flows and rows, as `load_data` reads them.
        worker: Which of the workers this is; default the only one, on the CPU.
        flow: What is trained; default a new one of the run's config and seed, with its warm start.
            Parameters that depend on data are set unless they have been.
        inputs: What it is given, if that has been gathered before; default it is gathered.

    Raises:
        ConfigError: Targets that are more than the cache's limit; a warm start that was asked for,
            and is worse than a random one.
        DataError: Rows that are missing or damaged.
        NonFiniteError: A teacher without a finite sample, where samples are learnt from.
    """
    began, worker = time.process_time(), worker or Worker()
    given, flow = flow, flow or build_flow(run.flow, seed=run.config.seed)
    objective = run.build_objective(flow, data.teacher).to(worker.device)
    inputs = inputs or gather_inputs(run, data, worker)
    first = inputs.calibration
    if given is None or not flow.initialized:
        flow.initialize(first.x[:CALIBRATION_ROWS], _rows(first.context, CALIBRATION_ROWS))
    remarks = []
    if given is None:
        remarks = _warm_start(run, data.source, flow, first.x, first.context)
    average = AveragedFlow(flow, run.config.train.ema_decay)
    return Run(
        resolved=run,
        objective=objective,
        optimizer=make_optimizer(flow, run.config.train),
        average=average,
        inputs=inputs,
        horizon=Horizon(run.config.train, run.validate_every),
        best=average.flow.state_dict(),
        dropped=inputs.dropped,
        remarks=remarks,
        began=began,
    )


def _warm_start(
    run: ResolvedRun, source: Flow | None, flow: Flow, x: Tensor, context: Tensor | None
) -> list[str]:
    """Sets a flow's parameters from those of the flow that it begins from, if there is one.

    Returns:
        What is to be known of a start that nobody asked for, and that is left out.
    """
    distillation = run.config.distillation
    if distillation is None or distillation.warm_start == "none":
        return []
    assert distillation.warm_start != "auto"  # resolved before
    assert source is not None
    assert run.source is not None
    source = source.to(x.device)
    kind = distillation.warm_start
    try:
        warm_start(kind, flow, run.flow, source, run.source.flow, x, context)
    except WorseThanNewError as error:
        if not run.start_by_default:
            raise ConfigError(f"run {run.config.name!r}: warm_start: {error}") from error
        remark = f"It began at random, and not by {kind}, which is worse here: {error}"
        warnings.warn(remark, stacklevel=3)
        return [remark]
    return []


def _rows(values: Tensor | None, count: int) -> Tensor | None:
    return None if values is None else values[:count]
