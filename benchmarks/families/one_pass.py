"""A teacher whose samples take a pass for each column and step, and four ways to draw them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.families.cells import SlowTeacher
from benchmarks.performance.measure import OthersShare, in_turns, quartiles
from benchmarks.performance.peers import BINS, Size, zuko_table
from flowkd.bijectors import Autoregressive, Jacobi
from flowkd.flows.autoregressive import autoregressive
from flowkd.flows.coupling import coupling
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference

TOLERANCE = 1e-4
PEER = "zuko"


def measure_teacher(cell: SlowTeacher, seconds: float) -> dict[str, Any]:
    """Returns times of `rows` samples in milliseconds, and how many times as long zuko takes."""
    torch.set_num_threads(cell.threads)
    torch.manual_seed(0)
    flows = new_flows(cell)
    theirs, teacher, student = (flows[name] for name in (PEER, "teacher", "student"))
    assert isinstance(teacher, Flow)
    assert isinstance(student, Flow)
    with torch.no_grad():
        for flow in (teacher, student):
            flow.initialize(chain(cell.columns, 256))
    train(teacher, cell)
    exact, jacobi, fast = for_inference(teacher), for_inference(teacher), for_inference(student)
    for each in masked(jacobi):
        each.decoding = Jacobi(TOLERANCE)
    z = torch.randn(cell.rows, cell.columns)
    ours = {"exact": exact, "jacobi": jacobi, "student": fast}
    calls: dict[str, Callable[[], object]] = {PEER: lambda: theirs().sample((cell.rows,))}
    calls |= {name: partial(flow.inverse, z) for name, flow in ours.items()}
    others = OthersShare()
    with torch.no_grad():
        times = in_turns(calls, seconds, time.process_time)
        away = (exact.inverse(z) - jacobi.inverse(z)).abs().max().item()
    return {
        "others": others.share(),
        "weights": {name: weights(flow) for name, flow in flows.items()},
        "iterations": [each.iterations for each in masked(jacobi)],
        "away": away,
        "log_prob_gained": gained(teacher, cell),
        "ways": {
            name: {
                "ms": round(1000 * median(times[name]), 3),
                "rounds": len(times[name]),
                "faster": quartiles(times[PEER], times[name]),
                "than_exact": quartiles(times["exact"], times[name]),
            }
            for name in times
        },
    }  # fmt: skip


def chain(columns: int, rows: int) -> Tensor:
    """Returns rows whose columns each hang on the two before: for untrained flows none does."""
    noise = torch.randn(rows, columns)
    made = [noise[:, 0], noise[:, 1]]
    for column in range(2, columns):
        spread = 0.3 + 0.5 * torch.sigmoid(2 * made[-2])
        made.append(0.8 * torch.sin(1.5 * made[-1]) + 0.5 * made[-2] + spread * noise[:, column])
    return torch.stack(made, 1)


def new_flows(cell: SlowTeacher) -> dict[str, nn.Module]:
    """Returns zuko's teacher, flowkd's of the same size, and the student, untrained."""
    size = Size(cell.shape, cell.width, cell.depth)
    given: dict[str, Any] = {"bins": BINS, "mix": "reverse", "mean": 0.0, "scale": 1.0}
    return {
        PEER: zuko_table("autoregressive spline")(size).module,
        "teacher": autoregressive(cell.columns, depth=cell.depth, width=cell.width, **given),
        "student": coupling(
            cell.columns, depth=cell.student_depth, width=cell.student_width, transform="spline",
            **given,
        ),
    }  # fmt: skip


def train(flow: Flow, cell: SlowTeacher) -> None:
    """Makes some steps of maximum likelihood."""
    optimizer = torch.optim.Adam(flow.parameters(), 2e-3)
    for _ in range(cell.steps):
        optimizer.zero_grad()
        (-flow.log_prob(chain(cell.columns, 128)).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimizer.step()


def gained(teacher: Flow, cell: SlowTeacher) -> float:
    """Returns nats a row by which a teacher is above a Gaussian of the same columns."""
    x = chain(cell.columns, 1024)
    with torch.no_grad():
        alone = torch.distributions.Normal(x.mean(0), x.std(0)).log_prob(x).sum(1).mean()
        return round((teacher.log_prob(x).mean() - alone).item(), 2)


def masked(flow: Flow) -> list[Autoregressive]:
    """Returns the masked maps of a flow, in order."""
    return [each for each in flow.modules() if isinstance(each, Autoregressive)]


def weights(module: nn.Module) -> int:
    """Returns the number of weights, without biases."""
    return sum(value.numel() for value in module.parameters() if value.dim() > 1)
