"""A training, whole, from its configuration to its result: without any cluster."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch
from torch import Tensor

from flowkd.config import dump_config
from flowkd.flows.configs import build_flow
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import CALIBRATION_ROWS, Worker
from flowkd.training.loop import AveragedFlow, StepResult, make_optimizer
from flowkd.training.metrics_log import RunLog
from flowkd.training.run import Run
from flowkd.training.setup import References
from flowkd.training.shared import Shared
from flowkd.training.teacher_data import gather


def prepare_run(
    config: TrainingConfig,
    store: Store,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
    shared: Shared | None = None,
) -> Run:
    """Builds all that a training needs, equal on all workers but for each one's rows.

    Args:
        config: What to train.
        store: Where what it refers to lies.
        rank: Which of the workers this is.
        world: The number of workers.
        device: Where this one computes.
        shared: What a run like this one has read and computed already; it changes no result.

    Raises:
        ConfigError: The config contradicts the data set, names taps that do not exist, or folds
            a teacher on too few rows.
        DataError: No such data set.
        StoreError: No such teacher.
        NonFiniteError: A teacher without a finite sample, where samples are learnt from.
    """
    began = time.process_time()
    found = References(config, store, shared)
    flow = build_flow(found.flow_config, seed=config.seed)
    objective = found.objective(flow).to(device)
    teacher = found.teacher
    material = gather(
        config,
        found.data(),
        teacher.flow if teacher else None,
        Worker(rank, world, device),
        found.bins,
        shared.known if shared else None,
    )
    first = material.calibration
    flow.initialize(first.x[:CALIBRATION_ROWS], _rows(first.context, CALIBRATION_ROWS))
    found.begin(flow, first)
    average = AveragedFlow(flow, config.train.ema_decay)
    return Run(
        config=config,
        flow_config=found.flow_config,
        objective=objective,
        optimizer=make_optimizer(flow, config.train),
        average=average,
        material=material,
        bins=found.bins,
        best=average.flow.state_dict(),
        dropped=material.dropped,
        began=began,
    )


def check_run(config: TrainingConfig, store: Store) -> None:
    """Raises what `prepare_run` would raise, but for faults of the data, which are not read."""
    found = References(config, store)
    found.objective(build_flow(found.flow_config))


def run_in_process(
    config: TrainingConfig, store: Store, commit: str | None = None
) -> Iterator[StepResult]:
    """Trains in this process, without Ray: yields the steps; writes config, metrics and result.

    Args:
        config: What to train; a run that cannot begin leaves nothing in the store.
        store: Where everything is kept.
        commit: Of the code, for the result's lineage.

    Raises:
        FlowkdError: What `prepare_run` and the training raise.
    """
    began = time.perf_counter()
    run = prepare_run(config, store)
    store.write(dump_config(config).encode(), "runs", config.name, "config.yaml")
    with RunLog(store, config.name) as log:
        for result in run.steps():
            line = run.record(result)
            if line:
                log.append(line)
            yield result
    run.finish(store, time.perf_counter() - began, commit)


def _rows(values: Tensor | None, count: int) -> Tensor | None:
    return None if values is None else values[:count]
