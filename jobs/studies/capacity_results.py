"""The results of a capacity study: students by likelihood, size and speed, with both fronts."""

from __future__ import annotations

from flowkd.config import Config
from flowkd.evaluation.pareto import pareto_front
from flowkd.flows.build import describe_flow
from jobs.studies.capacity_config import CapacityConfig, arm_of
from jobs.studies.results import Results, SummaryRow, Uncertain


class CapacityPoint(Config):
    """A student, mean over its runs.

    Attributes:
        shape: Name of the shape.
        flow: The shape in words.
        distilled: Whether it is distilled, or trained on data alone.
        runs: Number of runs.
        test: Bits per dimension on the test split.
        test_spread: Standard deviation between runs; None of a single run.
        test_error: Standard error of `test`, over groups of rows.
        gap_closed: Share of the gap between the plain student of the same shape and the teacher.
        gap: The same with its error over groups of rows.
        minus_plain: Test bits per dimension less those of the plain student of the same shape.
        parameters: Number of trainable values.
        parameters_share: The same over the teacher's.
        throughput_ratio: log_prob a second over the teacher's.
        sampling_ratio: Samples a second over the teacher's.
        small: Whether it is on the Pareto front of parameters and bits per dimension.
        fast: Whether it is on the Pareto front of throughput_ratio and bits per dimension.
    """

    shape: str
    flow: str
    distilled: bool
    runs: int
    test: float
    test_spread: float | None
    test_error: float | None = None
    gap_closed: float | None
    gap: Uncertain | None = None
    minus_plain: Uncertain | None = None
    parameters: int
    parameters_share: float
    throughput_ratio: float
    sampling_ratio: float
    small: bool = False
    fast: bool = False


class CapacityResults(Config):
    """The content of `results/capacity.json`: the points, and the study's results."""

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
    if row is None or None in (row.test, row.parameters_share, row.throughput_ratio):
        return None
    keys = (
        "runs", "test", "test_spread", "test_error", "parameters", "parameters_share",
        "throughput_ratio", "sampling_ratio",
    )  # fmt: skip
    return CapacityPoint(
        shape=name,
        flow=flow,
        distilled=distilled,
        gap_closed=row.gap_closed if distilled else None,
        gap=row.gap if distilled else None,
        minus_plain=row.minus_plain if distilled else None,
        **{key: getattr(row, key) for key in keys},
    )
