"""make bench-memory: peak memory and time of a training step by depth, ordinary and reversible.

Each case runs in a process of its own, so that its peak is its own. Times are CPU seconds of one
thread, which other load on the machine changes least.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any, Literal

import psutil
import torch
from torch import Tensor

from benchmarks.warmstart import peak_mebibytes
from flowkd.data.batch import Batch
from flowkd.distillation.losses import MaximumLikelihood
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.training.loop import make_optimizer, train
from flowkd.training.train_config import TrainConfig

HEADER = (
    "| K | MiB, ordinary | MiB, reversible | s, ordinary | s, reversible | ratio | reversible from "
    "ordinary | ordinary from float64 | reversible from float64 | round trip |"
)
RESULTS = Path("results/bench-memory.json")
DEPTHS = (8, 16, 32, 64)
SIDE, WIDTH, BATCH, STEPS, ROUNDS = 16, 64, 64, 4, 7
Memory = Literal["ordinary", "reversible"]
WAYS: tuple[Memory, ...] = ("ordinary", "reversible")


def main() -> None:
    """Measures every depth in both ways and writes `results/bench-memory.json`."""
    cases: dict[str, dict[str, Any]] = {}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for depth in DEPTHS:
            found: dict[str, Any] = {way: pool.apply(measure, (depth, way)) for way in WAYS}
            cases[str(depth)] = {
                **found, **pool.apply(errors, (depth,)), "seconds": pool.apply(seconds, (depth,)),
            }  # fmt: skip
            print(depth, cases[str(depth)], flush=True)
    outcome = {
        "depths": cases,
        "flow": f"Glow 3x{SIDE}x{SIDE}, L 1, width {WIDTH}, batch {BATCH}",
        "cpu": cpu_name(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")


def seconds(depth: int) -> dict[str, float]:
    """Returns CPU seconds of a gradient in both ways, in turns, and the ratio within a turn."""
    torch.set_num_threads(1)
    flow, x = flow_and_rows(depth)
    times: dict[Memory, list[float]] = {way: [] for way in WAYS}
    for number in range(ROUNDS + 1):
        for way in WAYS:
            began = time.process_time()
            gradient(flow, x, way)
            if number:  # the first round warms up
                times[way].append(time.process_time() - began)
    turns = zip(times["reversible"], times["ordinary"], strict=True)
    return {
        **{way: round(median(taken), 4) for way, taken in times.items()},
        "ratio": round(median(ours / others for ours, others in turns), 3),
    }


def measure(depth: int, memory: Memory) -> dict[str, float]:
    """Returns the peak of some steps in MiB beyond what flow, gradients and Adam's state take."""
    torch.set_num_threads(1)
    flow, x = flow_and_rows(depth)
    config = TrainConfig(steps=STEPS + 1, learning_rate=1e-4, memory=memory)
    optimizer = make_optimizer(flow, config)
    steps = train(MaximumLikelihood(flow), Growing(x), optimizer, config)
    next(steps)
    before = psutil.Process().memory_info().rss / 2**20
    for _ in range(STEPS):
        next(steps)
    return {
        "mebibytes": round(peak_mebibytes() - before, 1),
        "mebibytes_before": round(before, 1),
    }


def errors(depth: int) -> dict[str, float]:
    """Returns how far both gradients are from float64's, and the round trip, in parts of 1."""
    torch.set_num_threads(1)
    flow, x = flow_and_rows(depth)
    ordinary, reversible = (gradient(flow, x, way) for way in WAYS)
    with torch.no_grad():
        off = (flow.inverse(flow(x).z) - x).abs().max().item() / 256
    exact = gradient(flow.double(), x.double(), "ordinary")
    return {
        "reversible_from_ordinary": relative(reversible, ordinary),
        "ordinary_from_float64": relative(ordinary, exact),
        "reversible_from_float64": relative(reversible, exact),
        "round_trip": off,
    }


def relative(ours: Tensor, others: Tensor) -> float:
    """Returns the norm of a difference over that of the second."""
    return float((ours.double() - others.double()).norm() / others.double().norm())


def gradient(flow: Flow, x: Tensor, memory: Memory) -> Tensor:
    """Returns the gradient of the mean negative log-likelihood, in nats per dimension."""
    flow.reversible = memory == "reversible"
    flow.zero_grad()
    (-flow.log_prob(x).mean() / flow.dimensions).backward()
    return torch.cat(
        [value.grad.flatten() for value in flow.parameters() if value.grad is not None]
    )


def flow_and_rows(depth: int) -> tuple[Flow, Tensor]:
    """Returns a flow with every parameter off its start, and rows."""
    torch.manual_seed(0)
    shape = (3, SIDE, SIDE)
    config = GlowConfig(
        event_shape=shape, levels=1, depth=depth, width=WIDTH, mean=128.0, scale=256.0
    )
    flow, x = build_flow(config), 256 * torch.rand(BATCH, *shape)
    flow.initialize(x)
    with torch.no_grad():
        for value in flow.parameters():
            value.add_(0.01 * torch.randn_like(value))
    return flow, x


class Growing:
    """One row at the first step, which makes gradients and Adam's state; then all."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def batch(self, step: int) -> Batch:
        """Returns the rows of a step."""
        return Batch(self.x if step else self.x[:1])


def cpu_name() -> str:
    """Returns the model of this machine's CPU, as far as the system tells, and that of one core."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"one core of {os.cpu_count()}, {named[0] if named else platform.processor()}"


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-memory.md."""
    rows = []
    for depth, case in results["depths"].items():
        ordinary, reversible, taken = (case[key] for key in (*WAYS, "seconds"))
        rows.append(
            f"| {depth} | {ordinary['mebibytes']:,.0f} | {reversible['mebibytes']:,.0f} | "
            f"{taken['ordinary']:.3f} | {taken['reversible']:.3f} | {taken['ratio']:.2f} | "
            f"{case['reversible_from_ordinary']:.0e} | {case['ordinary_from_float64']:.0e} | "
            f"{case['reversible_from_float64']:.0e} | {case['round_trip']:.0e} |"
        )
    return f"""# Memory of a training step by depth

`make bench-memory`, {results["date"]}, torch {results["torch"]}, {results["cpu"]}.

{results["flow"]}, a process for each case.
*MiB* is the peak of a step beyond the flow, its gradients and Adam's state. *s* are CPU seconds of
a gradient on one thread, both ways in turns; *ratio* is the median of that within a turn. Gradients
are compared by the norm of their difference over their norm; *round trip* is the largest error of x
to z and back, as a share of the range of x.

{HEADER}
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

With `train.memory: reversible` a step keeps its result and goes back from there by the inverse of
each bijector, whose activations it computes once more, one bijector at a time; the network of a
coupling is computed once for both. One state in 8 steps is kept, and one where channels part, from
which the way back begins anew: otherwise its rounding would grow over the whole depth. What cannot
be had back from its result, the logarithms of a table's columns, goes the ordinary way. States at
the taps of hints are kept as well; every term of a distillation works. A ReLU whose input is zero
but for rounding may be on one side on the way there and on the other on the way back, as between
two machines: where one is, gradients differ by more than rounding.

`ordinary` is the default: it is faster, and where memory is enough nothing is gained by less.
"""


if __name__ == "__main__":
    main()
