"""Rows a second of flows, which are timed in turns so that all meet the same conditions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

from flowkd.data.batch import Batch
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import rows_for
from flowkd.flows.flow import Flow

Call = Callable[[], object]


def log_prob_per_second(
    flows: Mapping[str, Flow],
    rows: Examples,
    bins: int | None,
    *,
    batch_size: int,
    seconds: float,
    threads: int = 1,
) -> dict[str, float]:
    """Returns of how many rows each flow computes log_prob in a second.

    Args:
        flows: The flows to be timed, by name, in their form for inference.
        rows: The first batch_size of them are computed, again and again.
        bins: Number of integer values of the data; None if they are continuous.
        batch_size: Rows of a call.
        seconds: About how long to measure in all.
        threads: Threads of torch while it is measured.
    """

    def call(flow: Flow, batch: Batch) -> Call:
        return lambda: flow.log_prob(batch.x, batch.context)

    return _per_second(flows, rows, bins, call, batch_size, seconds, threads)


def samples_per_second(
    flows: Mapping[str, Flow],
    rows: Examples,
    bins: int | None,
    *,
    batch_size: int,
    seconds: float,
    threads: int = 1,
) -> dict[str, float]:
    """Returns how many rows each flow samples in a second.

    The arguments are those of `log_prob_per_second`; the noise is what each flow makes of the rows.
    """

    def call(flow: Flow, batch: Batch) -> Call:
        z = flow(batch.x, batch.context).z
        return lambda: flow.inverse(z, batch.context)

    return _per_second(flows, rows, bins, call, batch_size, seconds, threads)


@torch.no_grad()
def _per_second(
    flows: Mapping[str, Flow],
    rows: Examples,
    bins: int | None,
    make_call: Callable[[Flow, Batch], Call],
    batch_size: int,
    seconds: float,
    threads: int,
) -> dict[str, float]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        calls = {}
        for name, flow in flows.items():
            batch = next(evaluation_batches(rows_for(flow, rows), bins, batch_size, seed=0))
            calls[name] = make_call(flow, batch)
        rates = calls_per_second(calls, seconds=seconds)
    finally:
        torch.set_num_threads(before)
    size = min(batch_size, len(rows))
    return {name: size * rate for name, rate in rates.items()}


def calls_per_second(
    calls: Mapping[str, Call], *, seconds: float = 4.0, rounds: int = 5
) -> dict[str, float]:
    """Returns how often each call can be made in a second, the median over rounds.

    The arguments are those of `seconds_per_call`.
    """
    times = seconds_per_call(calls, seconds=seconds, rounds=rounds)
    return {name: 1 / median(measured) for name, measured in times.items()}


def seconds_per_call(
    calls: Mapping[str, Call],
    *,
    seconds: float,
    rounds: int,
    clock: Callable[[], float] | None = None,
) -> dict[str, list[float]]:
    """Times calls against each other: in each round all have their turn.

    Args:
        calls: What to time, by name; each is called twice before.
        seconds: About how long to take in all; each is called at least once a round.
        rounds: Number of turns of each call.
        clock: What tells the seconds; default the time that passes.

    Returns:
        The mean seconds of a call in each round, by name.
    """
    clock, repeats = clock or time.perf_counter, {}
    for name, call in calls.items():
        call()
        began = clock()
        call()
        once = clock() - began
        repeats[name] = max(1, round(seconds / (rounds * len(calls)) / max(once, 1e-6)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            began = clock()
            for _ in range(repeats[name]):
                call()
            times[name].append((clock() - began) / repeats[name])
    return times
