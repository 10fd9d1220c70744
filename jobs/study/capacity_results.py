"""Students as points: likelihood against size and speed, and those that no other one beats."""

from __future__ import annotations

from flowkd.config import Config
from flowkd.evaluation.metrics import gap_closed
from flowkd.evaluation.pareto import pareto_front
from jobs.study.capacity_config import CapacityConfig, arm_of
from jobs.study.config import TEACHER
from jobs.study.results import Results, SummaryRow
from jobs.study.summary import describe_flow


class CapacityPoint(Config):
    """A student, mean over its runs.

    Attributes:
        shape: Its name.
        flow: Its shape in words.
        distilled: Or trained on data alone.
        test: Bits per dimension; test_spread is the standard deviation between runs.
        gap_closed: Share of the gap between the plain student of this very shape and the teacher.
        small: Whether no other student has both fewer parameters and a better likelihood.
        fast: The same of throughput of log_prob.
    """

    shape: str
    flow: str
    distilled: bool
    runs: int
    test: float
    test_spread: float | None
    gap_closed: float | None
    parameters: int
    parameters_share: float
    throughput_ratio: float
    sampling_ratio: float
    small: bool = False
    fast: bool = False


class CapacityResults(Config):
    """What `results/capacity.json` holds: the points, and the results that they come from."""

    points: list[CapacityPoint]
    study: Results


def capacity_results(config: CapacityConfig, results: Results) -> CapacityResults:
    """Returns the points of all students that are finished and measured."""
    summary = results.of(config.name)
    points = [
        point
        for name, shape in config.shapes.items()
        for distilled in (False, True)
        if (point := _point(name, describe_flow(shape.flow), distilled, summary))
    ]
    small = pareto_front(points, lambda point: point.parameters, bits)
    fast = pareto_front(points, lambda point: -point.throughput_ratio, bits)
    marked = [
        point.model_copy(update={"small": point in small, "fast": point in fast})
        for point in points
    ]
    return CapacityResults(points=marked, study=results)


def bits(point: CapacityPoint) -> float:
    """Returns a student's bits per dimension on the test split."""
    return point.test


def _point(
    name: str, flow: str, distilled: bool, summary: dict[str, SummaryRow]
) -> CapacityPoint | None:
    row = summary.get(arm_of(name, distilled=distilled))
    plain = summary.get(arm_of(name, distilled=False))
    teacher = summary.get(TEACHER)
    if row is None or None in (row.test, row.parameters_share, row.throughput_ratio):
        return None
    closed = None
    if distilled and plain and teacher and plain.test is not None and teacher.test is not None:
        assert row.test is not None
        share = gap_closed(teacher.test, plain.test, row.test)
        closed = share if share == share else None  # NaN: there is no gap
    keys = (
        "runs", "test", "test_spread", "parameters", "parameters_share", "throughput_ratio",
        "sampling_ratio",
    )  # fmt: skip
    return CapacityPoint(
        shape=name,
        flow=flow,
        distilled=distilled,
        gap_closed=closed,
        **{key: getattr(row, key) for key in keys},
    )
