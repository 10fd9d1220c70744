"""The largest flow of pictures that is trained in the minutes that a run may take, here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig

# What the budget of minutes is to suffice for: with fewer steps a flow learns too little.
LEAST_STEPS = 5600
# A step is timed on ever more rows, until so many seconds of it tell what a row takes of a batch.
FEWEST_ROWS, GROWTH, ENOUGH_SECONDS = 8, 4, 0.2
# Depth and width, the largest first: one that is measured to fit is taken.
SIZES = ((8, 128), (8, 96), (8, 64), (6, 64), (6, 48), (4, 48), (4, 32), (3, 24), (2, 16))


@dataclass(frozen=True)
class Budget:
    """What a training may take, and by what it is done.

    Attributes:
        minutes: Of the whole training, about.
        batch_size: Rows of a step.
        workers: Processes that share them.
        threads: Of each.
        gpu: Whether they compute on GPUs, which are not timed: then the largest size is taken.
    """

    minutes: float
    batch_size: int
    workers: int = 1
    threads: int = 1
    gpu: bool = False


def picture_size(
    shape: Sequence[int], levels: int, budget: Budget, widest: int
) -> tuple[GlowConfig, int | None]:
    """Returns the largest Glow that a budget allows, or the smallest, and its steps within it.

    Args:
        shape: (C, H, W) of the pictures.
        levels: L.
        budget: What its training may take.
        widest: The most channels of its networks.

    Returns:
        The flow, and the most steps of its training; None where nothing was timed.
    """
    sizes = [size for size in SIZES if size[1] <= widest]
    steps = None
    for depth, width in sizes:
        flow = GlowConfig(levels=levels, depth=depth, width=width)
        if budget.gpu:
            break
        complete = flow.model_copy(update={"event_shape": tuple(shape)})
        rows = max(1, budget.batch_size // budget.workers)
        steps = int(60 * budget.minutes / _step_seconds(complete, rows, budget.threads))
        if steps >= LEAST_STEPS:
            break
    return flow, None if steps is None else max(steps, LEAST_STEPS)


@lru_cache(maxsize=64)
def _step_seconds(config: GlowConfig, batch: int, threads: int) -> float:
    """Returns the time of a step of training, forward and backward."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        flow = build_flow(config.model_copy(update={"mean": 0.0, "scale": 1.0}))
        rows = min(batch, FEWEST_ROWS)
        while True:
            x = torch.rand(rows, *flow.event_shape, generator=torch.Generator().manual_seed(0))
            seconds = min(_seconds(flow, x) for _ in range(2))  # torch's first calls take longer
            if rows == batch or seconds >= ENOUGH_SECONDS:
                return seconds * batch / rows
            rows = min(batch, GROWTH * rows)
    finally:
        torch.set_num_threads(before)


def _seconds(flow: Flow, x: torch.Tensor) -> float:
    began = time.perf_counter()
    (-flow.log_prob(x).mean()).backward()
    return time.perf_counter() - began
