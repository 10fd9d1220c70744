"""One cell: the networks alone, flowkd and the others, each in turn."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from statistics import median, quantiles
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from benchmarks.bench import networks, plain_copy, run, run_and_learn
from benchmarks.performance.cases import CASES
from benchmarks.performance.cells import Cell
from benchmarks.performance.peers import Contender
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference

ACTIONS = ("log_prob", "sample", "train")
OURS = "flowkd"
CELL_SECONDS = 5.0
LEAST_ROUNDS, MOST_ROUNDS = 3, 25
SLOW_SHARE, SLOW_SECONDS = 1 / 15, 1.0  # of all seconds; and what is timed at its first call
TURN_SECONDS = 0.01  # a call that takes less is made several times, as who trains or serves does
Call = Callable[[], object]
Clock = Callable[[], float]


def measure(cell: Cell, seconds: float = CELL_SECONDS) -> dict[str, Any]:
    """Returns times of a cell, in milliseconds a call, and their ratios within rounds.

    Args:
        cell: What to measure, on the threads that it names.
        seconds: About how long to take, but for at least 3 rounds and one before.
    """
    warnings.simplefilter("ignore")  # of what other libraries call
    torch.set_num_threads(cell.threads)
    torch.manual_seed(0)
    contenders, forms = built(cell.case, cell.shape, cell.width)
    flow = contenders[OURS].module
    assert isinstance(flow, Flow)
    unit = torch.rand(cell.rows, *cell.shape)
    picture = CASES[cell.case].picture
    given = dict.fromkeys(contenders, unit - 0.5 if picture else 2 * unit - 1)
    if picture:
        given[OURS] = 256 * unit  # its first bijector takes it to order one
    floors = floor_calls(flow, given[OURS], picture)
    calls: dict[tuple[str, str], Call] = {}
    for name, pairs in floors.items():
        calls["infer", name] = torch.no_grad()(partial(run, pairs))
        calls["learn", name] = partial(run_and_learn, pairs)
    for name, each in contenders.items():
        x, served = given[name], forms.get(name, each)
        calls["log_prob", name] = torch.no_grad()(partial(served.log_prob, x))
        calls["sample", name] = torch.no_grad()(partial(served.sample, cell.rows))
        calls["train", name] = partial(learn, each, x)
    others = OthersShare()
    # Of one thread the time of the CPU, which other load changes least.
    clock = time.process_time if cell.threads == 1 else time.perf_counter
    times = in_turns(calls, seconds, clock)
    engine = getattr(forms[OURS].module.engine, "name", "torch")
    return {
        "rows": cell.rows,
        "engine": engine,
        "others": others.share(),
        **ratios(times, list(floors), list(contenders)),
    }


def floor_calls(flow: Flow, x: Tensor, picture: bool) -> dict[str, list[tuple[nn.Module, Tensor]]]:
    """Returns the networks of a flow with their inputs, by memory layout."""
    own = networks(flow, x)
    if not picture:
        return {"networks": own}

    def last(value: Any) -> Any:
        return value.to(memory_format=torch.channels_last)

    return {
        "default": [(plain_copy(network), given.contiguous()) for network, given in own],
        "channels_last": [(last(plain_copy(network)), last(given)) for network, given in own],
    }


@lru_cache(maxsize=1)
def built(
    case: str, shape: tuple[int, ...], width: int
) -> tuple[dict[str, Contender], dict[str, Contender]]:
    """Returns all contenders, every parameter off its start, and those with a form to serve."""
    kind = CASES[case]
    flow = build_flow(kind.config(shape, width))
    contenders = {OURS: Contender(flow, flow.log_prob, flow.sample)}
    for name, build in kind.peers.items():
        contenders[name] = build(kind.size(shape, width))
    x = torch.rand(32, *shape)
    with torch.no_grad():
        flow.initialize(256 * x if kind.picture else 2 * x - 1)
        for name, each in contenders.items():
            if name != OURS:
                each.log_prob(x - 0.5 if kind.picture else 2 * x - 1)  # some begin with their data
            for parameter in each.module.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
    form = for_inference(flow)
    return contenders, {OURS: Contender(form, form.log_prob, form.sample)}


def learn(contender: Contender, x: Tensor) -> None:
    """Computes the gradients of a step of maximum likelihood."""
    contender.module.zero_grad(set_to_none=True)
    (-contender.log_prob(x).mean()).backward()


def in_turns(
    calls: Mapping[Any, Call], seconds: float, clock: Clock = time.perf_counter
) -> dict[Any, list[float]]:
    """Returns seconds of each call in each round; every other round goes backwards.

    A call that alone takes a large part of the time is made in the first rounds only.
    """
    turns: dict[Any, float] = {}
    repeats: dict[Any, int] = {}
    for name, call in calls.items():
        for _ in range(2):
            began = clock()
            call()
            taken = clock() - began
            if taken > SLOW_SECONDS:
                break  # what a first call does once is little of it
        repeats[name] = max(1, round(TURN_SECONDS / max(taken, 1e-6)))
        turns[name] = repeats[name] * taken
    slow = {name for name, taken in turns.items() if taken > SLOW_SHARE * seconds}
    once = sum(taken for name, taken in turns.items() if name not in slow) or seconds + 1
    rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, round(seconds / once)))
    times: dict[Any, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        some = [name for name in calls if number < LEAST_ROUNDS or name not in slow]
        for name in some if number % 2 else reversed(some):
            call = calls[name]
            began = clock()
            for _ in range(repeats[name]):
                call()
            times[name].append((clock() - began) / repeats[name])
    return times


def ratios(
    times: Mapping[tuple[str, str], Sequence[float]], floors: list[str], names: list[str]
) -> dict[str, Any]:
    """Returns what a page tells of the times: quartiles of ratios within rounds."""
    found: dict[str, Any] = {"rounds": len(next(iter(times.values()))), "actions": {}}
    for action in ACTIONS:
        what = "learn" if action == "train" else "infer"
        floor = min(floors, key=lambda name: median(times[what, name]))
        peer = min(
            (name for name in names if name != OURS), key=lambda name: median(times[action, name])
        )
        found["actions"][action] = {
            "floor": floor,
            "floor_ms": round(1000 * median(times[what, floor]), 4),
            "ms": {name: round(1000 * median(times[action, name]), 4) for name in names},
            "over_floor": {
                name: quartiles(times[action, name], times[what, floor]) for name in names
            },
            "fastest_peer": peer,
            "ahead": quartiles(times[action, peer], times[action, OURS]),
        }
    return found


def quartiles(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """Returns the quartiles of the ratio within a round, of those that have both."""
    within = [a / b for a, b in zip(ours, others, strict=False)]
    return [round(value, 4) for value in quantiles(within, n=4, method="inclusive")]


class OthersShare:
    """What other processes take of the CPUs while something is measured."""

    def __init__(self) -> None:
        self._began, self._busy, self._own = time.perf_counter(), _busy(), time.process_time()

    def share(self) -> float:
        """Returns the CPUs that others took since, on average."""
        taken = _busy() - self._busy - (time.process_time() - self._own)
        return round(max(0.0, taken) / max(time.perf_counter() - self._began, 1e-9), 2)


def _busy() -> float:
    now = psutil.cpu_times()
    return sum(now) - now.idle - getattr(now, "iowait", 0.0) - getattr(now, "guest", 0.0)
