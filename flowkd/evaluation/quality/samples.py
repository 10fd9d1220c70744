"""Samples of a flow beside rows of data, alike in all but where they come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from flowkd.data.rows import Examples
from flowkd.data.shuffle import seeded_generator
from flowkd.data.steps import ColumnSteps, to_grid
from flowkd.evaluation.metrics import rows_for
from flowkd.flows.flow import Flow

BATCH = 256


@dataclass(frozen=True)
class Drawn:
    """Rows of data and as many samples, in data units.

    Attributes:
        real: (N, *event) float32.
        drawn: (M, *event) float32; M is below N where some were not finite.
        group: (N,) int64, the groups of the rows; None where each is its own.
        not_finite: Number of samples with NaN or infinity, which were left out.
        partner: (M,) int64, the place of the row with whose context each sample was drawn.
        context: (N, C) float64, the rows' contexts, a class as C zeros and ones; None for a flow
            without.
    """

    real: np.ndarray
    drawn: np.ndarray
    group: np.ndarray | None
    not_finite: int
    partner: np.ndarray
    context: np.ndarray | None = None


@torch.no_grad()
def draw_beside(
    flow: Flow,
    rows: Examples,
    samples: int,
    *,
    bins: int | None = None,
    steps: ColumnSteps | None = None,
    seed: int = 0,
) -> Drawn:
    """Chooses rows at random, and draws a sample with the context of each, if the flow has one.

    Both sides are alike: of pictures, samples are rounded down to the integers that rows are; of
    columns with steps, to the grid. Rows and latents depend on the seed, the numbers and the shape
    of the latents alone: they are the same for every flow.

    Args:
        flow: On any device; its form for inference is faster.
        rows: Of a split, (N, *event), as they are stored.
        samples: At most so many; as many as there are rows if these are fewer.
        bins: Number of integer values of the data; None if they are continuous.
        steps: Steps of a table's columns; default none.
        seed: Seed of the choice and of the latents.
    """
    count = min(samples, len(rows))
    order = torch.randperm(len(rows), generator=seeded_generator(seed, "quality/rows"))
    chosen = rows_for(flow, rows.select(order[:count]))
    z = flow.draw_latents(count, generator=seeded_generator(seed, "quality/latents"))
    parts = []
    for start in range(0, count, BATCH):
        part = slice(start, start + BATCH)
        context = None if chosen.context is None else chosen.context[part].to(z.device)
        parts.append(flow.inverse(z[part].to(next(flow.parameters())), context).float().cpu())
    drawn = torch.cat(parts)
    finite = drawn.flatten(1).isfinite().all(1)
    drawn = drawn[finite]
    drawn = to_grid(drawn, steps) if bins is None else drawn.floor().clamp(0, bins - 1)
    return Drawn(
        chosen.x.float().numpy(),
        drawn.numpy(),
        None if chosen.group is None else chosen.group.numpy(),
        int((~finite).sum()),
        finite.nonzero()[:, 0].numpy(),
        None if chosen.context is None else _vectors(chosen.context, flow.context.classes),
    )


def _vectors(context: Tensor, classes: int) -> np.ndarray:
    return (one_hot(context, classes) if classes else context).double().numpy()
