"""About how long a training takes on this machine, from the time of a few steps on noise."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from flowkd.data.batch import Batch
from flowkd.distillation.teacher_samples import CHUNK
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.flows.teacher import Teacher
from flowkd.training.foreign_teacher import PinnedForeign, load_foreign
from flowkd.training.resolved import ResolvedRun

FEWEST_ROWS, GROWTH = 8, 8
PROGRESS = 0.25  # where terms that fade in, or out by half of the steps, have a weight
FORWARD = 1 / 3  # of the time of a step: what its backward pass is not


def estimated_seconds(run: ResolvedRun, enough: float) -> float:
    """Returns about how many seconds this process takes to train a run, reading aside.

    Steps are measured on ever more rows, so that a large flow is not waited for. Of a run that ends
    by itself, as many are counted as are likely.

    Args:
        run: What would be trained, on one worker.
        enough: If it takes at least so long, any number that is as large may be returned.
    """
    config, distillation = run.config, run.config.distillation
    flow = build_flow(run.flow, seed=config.seed)
    teacher: Teacher | None = None
    if isinstance(run.teacher, PinnedForeign):
        teacher = load_foreign(run.teacher)
    elif run.teacher is not None:
        teacher = build_flow(run.teacher.flow)
    objective = run.build_objective(flow, teacher)
    drawn = 0
    if distillation is not None and config.learns_from_samples:
        drawn = distillation.samples.batch_size or config.batch_size
    size = drawn if run.manifest is None else config.batch_size + drawn
    share = drawn / size
    steps = config.train.likely_steps(run.validate_every)

    def step(rows: int) -> None:
        batch = _noise(flow, rows, samples=math.ceil(share * rows))
        objective(batch, PROGRESS).total.backward()

    seconds = _measured(step, size, enough / steps)
    total = steps * seconds
    judged = steps / run.validate_every * config.validation_rows
    total += judged * FORWARD * seconds / size
    if drawn and teacher is not None and distillation is not None and total < enough:
        rows = distillation.samples.rows or steps * drawn
        chunks = math.ceil(rows / CHUNK)
        left = (enough - total) / chunks
        total += chunks * _measured(lambda count: _draw(teacher, count), min(rows, CHUNK), left)
    return total


def _measured(work: Callable[[int], None], rows: int, enough: float) -> float:
    """Returns the seconds of work on so many rows, or of less work where that takes enough."""
    count = min(rows, FEWEST_ROWS)
    work(count)  # torch's first calls take longer
    while True:
        began = time.perf_counter()
        work(count)
        seconds = time.perf_counter() - began
        if count == rows or seconds >= enough:
            return seconds
        count = min(rows, GROWTH * count)


def _noise(flow: Flow, rows: int, samples: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(rows, *flow.event_shape, generator=generator)
    z = torch.randn(rows, flow.dimensions, generator=generator)
    return Batch(x, _context(flow, rows), z, samples)


def _draw(teacher: Teacher, rows: int) -> None:
    teacher.sample(rows, _context(teacher, rows), generator=torch.Generator().manual_seed(0))


def _context(flow: Teacher, rows: int) -> torch.Tensor | None:
    if flow.context.classes:
        return torch.zeros(rows, dtype=torch.int64)
    return torch.zeros(rows, flow.context.size) if flow.context.size else None
