"""A student's shape by the time that it takes on this machine, beside the flow that it follows."""

from __future__ import annotations

import time
from functools import partial
from itertools import product
from statistics import geometric_mean, median
from typing import Any

import numpy as np
import torch

from flowkd.errors import ConfigError
from flowkd.evaluation.throughput import seconds_per_call
from flowkd.flows.build import build_flow, describe_flow, new_flow
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.family import StepsConfig
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference
from flowkd.store.choices import Choices, Found
from flowkd.store.store import Store

# Shares of the larger flow's depth and width that are looked at, and how these grow over levels.
DEPTHS = (1, 3 / 4, 1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8, 1 / 16)
WIDTHS = tuple(2 ** (-quarter / 4) for quarter in range(21))
DEEPENINGS, WIDENINGS = (0.0, 0.3, 0.6), (0.0, 0.35, 0.7)
SLACK = 1.25  # by which a shape may be faster than its work is less
# What a flow's time is taken to be until shapes were timed: of its steps, and of its work.
OF_STEPS, OF_WORK, PRIOR = 0.3, 0.7, 0.1
MOST_TIMED = 10  # once one was found
TABLE_ROWS, PICTURE_ROWS, FEWEST_ROWS = 256, 16, 4
CALL_SECONDS = 0.1  # of the larger flow in torch, at most, as far as fewer rows allow it
MEASURED_SECONDS, ROUNDS = 0.4, 5  # a shape and a direction


class TimedShape(Found):
    """A shape that was chosen by its time.

    Attributes:
        flow: Of the student.
        log_prob: Its log_prob a second over the larger flow's.
        sampling: Its samples a second over the larger flow's.
        timed: How many shapes were timed to find it.
        seconds: That this took.
    """

    flow: AnyFlowConfig
    log_prob: float
    sampling: float
    timed: int
    seconds: float

    def __str__(self) -> str:
        found = (
            f"{describe_flow(self.flow)}, {self.log_prob:.1f} times its log_prob and "
            f"{self.sampling:.1f} times its sampling on this machine"
        )
        if self.shared:
            return f"{found}, as another run found"
        return f"{found}; {self.timed} shapes timed in {self.seconds:.0f} s"


def timed_shape(larger: AnyFlowConfig, times: float, store: Store | None = None) -> TimedShape:
    """Returns a shape of a flow's family, or one like it, that is so many times as fast, measured.

    Of the shapes that are, it is the first of `candidates`: at equal throughput, shapes that keep
    most of the steps are ahead of those that keep the width (docs/results/capacity.md). Each shape
    that was timed tells what others may take, so that few are.

    Args:
        larger: Complete.
        times: How many times the flow's rows a second, at least, both ways.
        store: Keeps what was found, so that students to be compared have one shape; default none.

    Raises:
        ConfigError: Not even the smallest shape is so fast.
    """
    return _choices(larger, times, store).found(lambda: _search(larger, times))


def candidates(larger: AnyFlowConfig, times: float) -> list[StepsConfig]:
    """Returns the shapes that may be so many times as fast, the one to be taken first first.

    First is the one whose smaller share of the flow's depth and width, the geometric means of its
    levels, is largest, and then the largest of these. A flow of levels has shapes, too, whose
    levels become deeper and wider from the finest on, where most of the time is spent. A student
    that begins as the folded flow can have all of these. What has too much work for such a time is
    left out.
    """
    base = _base(larger)
    one = len(base.level_sizes) == 1
    grown = [(0.0, 0.0)] if one else list(product(DEEPENINGS, WIDENINGS))
    found: dict[str, StepsConfig] = {}
    for depth, width, growth in product(DEPTHS, WIDTHS, grown):
        flow = base.scaled(depth, width, *growth)
        # Of another family nothing is known but by measurement.
        if base is not larger or (flow.work <= SLACK / times * base.work and flow != larger):
            found.setdefault(flow.model_dump_json(), flow)
    shapes = found.values() or [base.scaled(DEPTHS[-1], WIDTHS[-1])]
    return sorted(shapes, key=lambda flow: _order(flow, base), reverse=True)


def _base(larger: AnyFlowConfig) -> StepsConfig:
    base = larger.student(of_steps=True)
    assert isinstance(base, StepsConfig)
    return base


def _order(flow: StepsConfig, base: StepsConfig) -> tuple[float, float]:
    pairs = list(zip(flow.level_sizes, base.level_sizes, strict=True))
    depth = geometric_mean(ours.depth / theirs.depth for ours, theirs in pairs)
    width = geometric_mean(ours.width / theirs.width for ours, theirs in pairs)
    return min(depth, width), depth * width


def _search(larger: AnyFlowConfig, times: float) -> TimedShape:
    began = time.perf_counter()
    teacher = build_flow(larger)
    rows = _rows(teacher)
    base = _base(larger)
    pace = _Pace(base, 1.0)
    if base is not larger:
        pace = _Pace(base, 1 / min(_ratios(teacher, new_flow(base), rows)))
    shapes = candidates(larger, times)
    sizes = np.array([pace.size(flow) for flow in shapes])
    ratios: dict[int, tuple[float, float]] = {}
    best: int | None = None
    while best is None or len(ratios) < MOST_TIMED:
        expected = sizes @ pace.each
        better = [number for number in range(len(shapes))[:best] if number not in ratios]
        number = next((each for each in better if expected[each] * times <= 1), None)
        if number is None:
            number = int(expected.argmin())
            if best is not None or number in ratios:
                break
        ratios[number] = _ratios(teacher, new_flow(shapes[number]), rows)
        pace.add(shapes[number], 1 / min(ratios[number]))
        if min(ratios[number]) >= times:
            best = number
    if best is not None:
        seconds = round(time.perf_counter() - began, 1)
        return TimedShape(
            flow=shapes[best], log_prob=ratios[best][0], sampling=ratios[best][1],
            timed=len(ratios), seconds=seconds,
        )  # fmt: skip
    fastest = max(min(each) for each in ratios.values())
    raise ConfigError(
        f"objective.throughput: expected at most what the fastest of the shapes reaches on this "
        f"machine, {fastest:.1f}; got {times:g}: lower it, or name a flow"
    )


class _Pace:
    """What shapes are expected to take, in times of the larger flow: so much a step and a product.

    Args:
        base: The shape in whose steps and work others are told.
        taken: Its time.

    Attributes:
        each: The time of its steps, and of its work.
    """

    def __init__(self, base: StepsConfig, taken: float) -> None:
        self.base = base
        self.prior = np.array([OF_STEPS, OF_WORK]) * taken
        self.rows: list[Any] = list(PRIOR * np.eye(2) / self.prior)
        self.targets = [PRIOR, PRIOR]
        self.add(base, taken)

    def add(self, flow: StepsConfig, taken: float) -> None:
        """Learns the time of a shape."""
        self.rows.append(self.size(flow) / taken)  # errors count as shares of the time
        self.targets.append(1.0)
        found = np.linalg.lstsq(np.array(self.rows), np.array(self.targets), rcond=None)[0]
        self.each = np.maximum(found, 0.01 * self.prior)

    def size(self, flow: StepsConfig) -> Any:
        """Returns a shape's steps and work, as shares."""
        ours, theirs = (sum(size.depth for size in each.level_sizes) for each in (flow, self.base))
        return np.array([ours / theirs, flow.work / self.base.work])


def _rows(teacher: Flow) -> int:
    """Returns how many rows are timed: as many as one call of the flow takes little time for."""
    rows = TABLE_ROWS if len(teacher.event_shape) == 1 else PICTURE_ROWS
    while rows > FEWEST_ROWS:
        x, context = teacher.sample(rows, _context(teacher, rows)), _context(teacher, rows)
        # The shorter of two: a first call prepares what later ones have.
        if min(_seconds(teacher, x, context) for _ in range(2)) <= CALL_SECONDS:
            break
        rows //= 2
    return rows


@torch.no_grad()
def _seconds(flow: Flow, x: torch.Tensor, context: torch.Tensor | None) -> float:
    began = time.process_time()
    flow.log_prob(x, context)
    return time.process_time() - began


def _context(flow: Flow, rows: int) -> torch.Tensor | None:
    if flow.context.classes:
        return torch.zeros(rows, dtype=torch.int64)
    return torch.zeros(rows, flow.context.size) if flow.context.size else None


@torch.no_grad()
def _ratios(teacher: Flow, student: Flow, rows: int) -> tuple[float, float]:
    """Returns how many times the teacher's rows a second a student has: log_prob and sampling.

    By the time of the CPU, for other work on the machine should choose no shape.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        forms = {"teacher": for_inference(teacher), "student": for_inference(student)}
        x, context = teacher.sample(rows, _context(teacher, rows)), _context(teacher, rows)
        z = torch.randn(rows, *teacher.latent_shape)
        both = (
            {name: partial(form.log_prob, x, context) for name, form in forms.items()},
            {name: partial(form.inverse, z, context) for name, form in forms.items()},
        )
        found = []
        for calls in both:
            taken = seconds_per_call(
                calls, seconds=MEASURED_SECONDS, rounds=ROUNDS, clock=time.process_time
            )
            found.append(median(taken["teacher"]) / max(median(taken["student"]), 1e-9))
    finally:
        torch.set_num_threads(before)
    return found[0], found[1]


def _choices(larger: AnyFlowConfig, times: float, store: Store | None) -> Choices[TimedShape]:
    facts = {"flow": larger.model_dump(mode="json"), "times": times}
    return Choices(store, "shapes", facts, TimedShape)
