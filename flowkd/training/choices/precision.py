"""How a run computes that leaves it open: measured once for a machine, a flow and a batch."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkd.data.batch import Batch
from flowkd.distillation.losses import MaximumLikelihood
from flowkd.flows.build import build_flow
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.flows.precision import (
    CANDIDATES,
    WORTH_IT,
    FoundPrecision,
    Precision,
    faster_precision,
    machine_name,
    time_in_turns,
)
from flowkd.store.choices import Choices
from flowkd.store.store import Store
from flowkd.training.compiled import CompiledTerms
from flowkd.training.inputs import Worker
from flowkd.training.resolved import ResolvedRun


def with_precision(
    run: ResolvedRun,
    store: Store | None = None,
    worker: Worker | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> ResolvedRun:
    """Returns a run that leaves neither its precision open nor whether its steps are compiled.

    Both are as they were given, as another run found them, or measured. On a CPU nothing is
    compiled: it took a minute or more to build, and no less time for a step, wherever it was tried.

    Args:
        run: What is to be trained.
        store: Keeps what was found; None: not kept.
        worker: Where it is trained; default the CPU.
        tell: Called with what was found, in words.
    """
    train, worker = run.config.train, worker or Worker()
    compiles = train.compile == "auto" and _may_compile(run, worker)
    found: FoundPrecision | None = None
    if train.precision == "auto" or compiles:
        # As many rows as one worker gets, when all have come.
        rows = max(1, run.config.batch_size // run.config.scaling.workers)
        steps = train.likely_steps(run.validate_every) if compiles else None
        given = None if train.precision == "auto" else train.precision
        found = _choices(run, store, rows, worker, steps).found(
            lambda: measure_precision(run.flow, rows, worker.device, given, steps)
        )
        tell(str(found))
    changes: dict[str, Any] = {}
    if train.precision == "auto":
        assert found is not None
        changes["precision"] = found.precision
    if train.compile == "auto":
        changes["compile"] = found is not None and found.compiled
    if not changes:
        return run
    config = run.config.model_copy(update={"train": train.model_copy(update=changes)})
    return run.model_copy(update={"config": config, "found_precision": found})


def _may_compile(run: ResolvedRun, worker: Worker) -> bool:
    """Tells whether it may be worth it, and can be done, to compile a run's steps."""
    on_gpu = torch.device(worker.device).type == "cuda"
    if not on_gpu or run.config.train.memory == "reversible":
        return False
    hints = run.config.distillation.hints if run.config.distillation else ()
    return run.config.scaling.workers == 1 or not any(hint.normalize for hint in hints)


def measure_precision(
    config: FlowConfig,
    rows: int,
    device: torch.device | str = "cpu",
    given: Precision | None = None,
    steps: int | None = None,
) -> FoundPrecision:
    """Times training steps of a new flow in each precision, in turns; then a compiled one, as well.

    Args:
        config: Complete.
        rows: Of a worker's batch.
        device: Where it would be trained.
        given: The only precision to time; default both.
        steps: Of the training, which have to win back the time to compile; None: nothing is.
    """
    began = time.perf_counter()
    device = torch.device(device)
    flow = build_flow(config).to(device)
    batch = Batch(*_rows(flow, rows, device))
    ways = {name: _Step(flow, name, batch) for name in CANDIDATES}
    if given is None:
        found = faster_precision(ways, device, "a step")
    else:
        best, _ = time_in_turns({given: ways[given]}, device)
        milliseconds = {given: round(1000 * best[given], 3)}
        found = FoundPrecision(
            precision=given, milliseconds=milliseconds, machine=machine_name(device), seconds=0.0
        )
    if steps is not None:
        found = _compiled(found, ways[found.precision], steps, device)
    return found.model_copy(update={"seconds": round(time.perf_counter() - began, 1)})


class _Step:
    """Forward and backward of a flow of its own, a copy, in one precision."""

    def __init__(self, flow: Flow, precision: Precision, batch: Batch) -> None:
        self.objective = MaximumLikelihood(copy.deepcopy(flow))
        self.objective.flow.precision = precision
        self.batch = batch

    def __call__(self) -> None:
        self.objective.zero_grad()
        self.objective(self.batch).total.backward()

    def compiled(self, device: torch.device) -> _Step:
        made = _Step(self.objective.flow, self.objective.flow.precision, self.batch)
        made.objective.terms = CompiledTerms(  # type: ignore[method-assign]
            made.objective, graphs=device.type == "cuda"
        )
        return made


def _compiled(
    found: FoundPrecision, step: _Step, steps: int, device: torch.device
) -> FoundPrecision:
    """Returns the choice again, compiled where a run of so many steps wins by it."""
    name = f"{found.precision}, compiled"
    try:
        best, first = time_in_turns({"ordinary": step, name: step.compiled(device)}, device)
    except Exception as error:  # a compiler that is missing, or of which the errors share no base
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return found.model_copy(update={"trouble": lines[0]})
    gain = best["ordinary"] - best[name]
    worth = best[name] <= WORTH_IT * best["ordinary"] and gain * steps > first[name]
    times = {**found.milliseconds, name: round(1000 * best[name], 3)}
    return found.model_copy(update={"compiled": worth, "milliseconds": times})


def _rows(flow: Flow, rows: int, device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Returns rows of order one in data units, and a context for them."""
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        drawn = torch.randn(rows, *flow.event_shape, generator=source).to(device)
        x, _ = flow.preprocess.inverse(drawn)
    if flow.context.classes:
        return x, torch.zeros(rows, dtype=torch.int64, device=device)
    if flow.context.size:
        return x, torch.zeros(rows, flow.context.size, device=device)
    return x, None


def _choices(
    run: ResolvedRun, store: Store | None, rows: int, worker: Worker, steps: int | None
) -> Choices[FoundPrecision]:
    facts = {
        "machine": machine_name(worker.device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "flow": run.flow.model_dump(mode="json"),
        "rows": rows,
        "memory": run.config.train.memory,
        "precision": run.config.train.precision,
        "steps": steps,
    }
    return Choices(store, "precisions", facts, FoundPrecision)
