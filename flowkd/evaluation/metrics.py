"""What is reported of a flow: bits per dimension, round trip, throughput."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.rows import Examples
from flowkd.flows.flow import Flow

EVALUATION_SEED = 2024


def bits_per_dim(log_prob: Tensor | float, dimensions: int) -> Tensor | float:
    """Returns -log2 p / D for log p in nats: of dequantised data, an upper bound on its code."""
    return -log_prob / (dimensions * math.log(2))


def gap_closed(teacher: float, plain: float, distilled: float) -> float:
    """Returns the share of the likelihood gap between plain student and teacher that is closed.

    (plain - distilled) / (plain - teacher) in bits per dimension; NaN where there is no gap.
    """
    gap = plain - teacher
    return (plain - distilled) / gap if gap > 0 else math.nan


@dataclass(frozen=True)
class Likelihood:
    """Held-out likelihood of a flow.

    Attributes:
        bits_per_dim: Mean over the examples.
        standard_error: Of that mean.
        nats: Mean log-likelihood of an example, in nats.
        rows: Number of examples.
    """

    bits_per_dim: float
    standard_error: float
    nats: float
    rows: int


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
    error = bits.std().item() / math.sqrt(len(bits)) if len(bits) > 1 else math.nan
    return Likelihood(bits.mean().item(), error, nats.mean().item(), len(bits))


@torch.no_grad()
def round_trip_error(flow: Flow, x: Tensor, context: Tensor | None = None) -> float:
    """Returns the largest |inverse(forward(x)) - x| in preprocessed units, which are of order 1."""
    again = flow.inverse(flow(x, context).z, context)
    return (flow.preprocess(again)[0] - flow.preprocess(x)[0]).abs().max().item()


def calls_per_second(
    calls: Mapping[str, Callable[[], object]], *, seconds: float = 4.0, rounds: int = 5
) -> dict[str, float]:
    """Times calls against each other: interleaved rounds, the median of each.

    Args:
        calls: What to time, by name.
        seconds: About how long to take in all.
        rounds: How often each has its turn.
    """
    repeats = {}
    for name, call in calls.items():
        call()
        began = time.perf_counter()
        call()
        once = time.perf_counter() - began
        repeats[name] = max(1, round(seconds / (rounds * len(calls)) / max(once, 1e-6)))
    rates: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            rates[name].append(repeats[name] / (time.perf_counter() - began))
    return {name: median(measured) for name, measured in rates.items()}
