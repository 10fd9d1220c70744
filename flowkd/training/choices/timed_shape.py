"""A student's shape by the time that it takes on this machine, beside the flow that it follows."""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import torch

from flowkd.errors import ConfigError
from flowkd.evaluation.throughput import seconds_per_call
from flowkd.flows.build import build_flow, describe_flow, new_flow
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.flow import Flow
from flowkd.flows.inference import for_inference
from flowkd.store.choices import Choices, Found
from flowkd.store.store import Store

# Shares of the larger flow's depth and width that are looked at.
DEPTHS = (1, 3 / 4, 1 / 2, 3 / 8, 1 / 4, 3 / 16, 1 / 8, 1 / 16)
WIDTHS = tuple(2 ** (-quarter / 4) for quarter in range(21))
SLACK = 1.25  # by which a shape may be faster than its work is less
TABLE_ROWS, PICTURE_ROWS, FEWEST_ROWS = 256, 16, 4
CALL_SECONDS = 0.05  # of the larger flow, at most, as far as fewer rows allow it
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

    Of the shapes that are, it is the one whose smaller share of the flow's depth and width is
    largest, and then the largest of these: at equal throughput, shapes that keep most of the steps
    are ahead of those that keep the width (docs/results/capacity.md). Levels stay, for a student
    begins as the folded flow, which has the same.

    Args:
        larger: Complete.
        times: How many times the flow's rows a second, at least, both ways.
        store: Keeps what was found, so that students to be compared have one shape; default none.

    Raises:
        ConfigError: Not even the smallest shape is so fast.
    """
    return _choices(larger, times, store).found(lambda: _search(larger, times))


def candidates(larger: AnyFlowConfig, times: float) -> list[AnyFlowConfig]:
    """Returns the shapes that may be so many times as fast, the one to be taken first first.

    A network's work grows with its width, at most with its square: what would be too slow even so
    is left out.
    """
    shares = [(depth, width) for depth in DEPTHS for width in WIDTHS]
    shares.sort(key=lambda each: (min(each), each[0] * each[1]), reverse=True)
    found: dict[str, AnyFlowConfig] = {}
    base = larger.student()
    for depth, width in shares:
        flow = base.scaled(depth, width)
        # Of another family nothing is known but by measurement.
        if base is not larger or (depth * width**2 <= SLACK / times and flow != larger):
            found.setdefault(flow.model_dump_json(), flow)  # the first has the largest shares
    return list(found.values()) or [base.scaled(DEPTHS[-1], WIDTHS[-1])]


def _search(larger: AnyFlowConfig, times: float) -> TimedShape:
    began = time.perf_counter()
    teacher = build_flow(larger)
    rows = _rows(teacher)
    fastest = 0.0
    for timed, flow in enumerate(candidates(larger, times), start=1):
        ratios = _ratios(teacher, new_flow(flow), rows)
        fastest = max(fastest, min(ratios))
        if min(ratios) >= times:
            seconds = round(time.perf_counter() - began, 1)
            return TimedShape(
                flow=flow, log_prob=ratios[0], sampling=ratios[1], timed=timed, seconds=seconds
            )
    raise ConfigError(
        f"objective.throughput: expected at most what the fastest of the shapes reaches on this "
        f"machine, {fastest:.1f}; got {times:g}: lower it, or name a flow"
    )


def _rows(teacher: Flow) -> int:
    """Returns how many rows are timed: as many as one call of the flow takes little time for."""
    rows = TABLE_ROWS if len(teacher.event_shape) == 1 else PICTURE_ROWS
    while rows > FEWEST_ROWS:
        x, context = teacher.sample(rows, _context(teacher, rows)), _context(teacher, rows)
        began = time.process_time()
        with torch.no_grad():
            teacher.log_prob(x, context)
        if time.process_time() - began <= CALL_SECONDS:
            break
        rows //= 2
    return rows


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
