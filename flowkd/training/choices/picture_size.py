"""The largest flow of pictures whose training takes about the minutes that a run may, here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from flowkd.flows.build import build_flow
from flowkd.flows.glow import GlowConfig

# Of a training that ends on a plateau, about: what the budget of minutes is divided by.
EXPECTED_STEPS = 5600
ROWS = 8  # of the step that is timed
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
) -> tuple[GlowConfig, float | None]:
    """Returns the largest Glow that a budget allows, or the smallest, and the minutes expected.

    Args:
        shape: (C, H, W) of the pictures.
        levels: L.
        budget: What its training may take.
        widest: The most channels of its networks.
    """
    sizes = [size for size in SIZES if size[1] <= widest]
    minutes = None
    for depth, width in sizes:
        flow = GlowConfig(levels=levels, depth=depth, width=width)
        if budget.gpu:
            break
        seconds = _seconds_a_row(flow.model_copy(update={"event_shape": tuple(shape)}),
                                 budget.threads)  # fmt: skip
        minutes = EXPECTED_STEPS * budget.batch_size / budget.workers * seconds / 60
        if minutes <= budget.minutes:
            break
    return flow, minutes


@lru_cache(maxsize=64)
def _seconds_a_row(config: GlowConfig, threads: int) -> float:
    """Returns the time of a row of a step of training, forward and backward."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        flow = build_flow(config.model_copy(update={"mean": 0.0, "scale": 1.0}))
        x = torch.rand(ROWS, *flow.event_shape, generator=torch.Generator().manual_seed(0))
        taken = []
        for _ in range(2):  # torch's first calls take longer
            began = time.perf_counter()
            (-flow.log_prob(x).mean()).backward()
            taken.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return min(taken) / ROWS
