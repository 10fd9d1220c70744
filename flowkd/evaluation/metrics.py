"""What is reported of a flow beside its throughput: bits per dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.rows import Examples
from flowkd.evaluation.intervals import GroupBits, mean_of
from flowkd.flows.flow import Flow

EVALUATION_SEED = 2024


def bits_per_dim(log_prob: Tensor | float, dimensions: int) -> Tensor | float:
    """Returns -log2 p / D for log p in nats: of dequantised data, an upper bound on its code."""
    return -log_prob / (dimensions * math.log(2))


@dataclass(frozen=True)
class Likelihood:
    """Held-out likelihood of a flow.

    Attributes:
        bits_per_dim: Mean over the examples.
        standard_error: Standard error of that mean over groups; NaN for a single one.
        nats: Mean log-likelihood of an example, in nats.
        rows: Number of examples.
        by_group: Bits per dimension by group, from which errors of differences come.
    """

    bits_per_dim: float
    standard_error: float
    nats: float
    rows: int
    by_group: GroupBits


@torch.no_grad()
def evaluate_likelihood(
    flow: Flow, examples: Examples, bins: int | None, *, batch_size: int = 256
) -> Likelihood:
    """Returns the likelihood of examples, in data units, with the same noise for every flow."""
    device = next(flow.parameters()).device
    parts = []
    for batch in evaluation_batches(examples, bins, batch_size, EVALUATION_SEED):
        batch = batch.to(device)
        parts.append(flow.log_prob(batch.x, batch.context).double().cpu())
    nats = torch.cat(parts)
    bits = bits_per_dim(nats, flow.dimensions)
    assert isinstance(bits, Tensor)
    group = None if examples.group is None else examples.group.numpy()
    by_group = GroupBits.of(bits.numpy(), group)
    error = mean_of(by_group).error
    return Likelihood(bits.mean().item(), error, nats.mean().item(), len(bits), by_group)


def rows_for(flow: Flow, rows: Examples) -> Examples:
    """Returns rows as a flow takes them: without context if it has none."""
    return rows if flow.context.width else rows.without_context()
