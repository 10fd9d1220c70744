"""The results of studies: the content of `results/study.json`, from which documents are written."""

from __future__ import annotations

import math

from pydantic import Field

from flowkd.config import Config
from flowkd.evaluation.intervals import GroupBits, Interval
from jobs.studies.config import Targets


class Uncertain(Config):
    """A figure with its error over groups of rows; None where that is not known.

    Attributes:
        estimate: The figure.
        error: Its standard error.
        low: Lower end of its 95% interval.
        high: Upper end.
    """

    estimate: float
    error: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, found: Interval) -> Uncertain | None:
        """Returns an interval in a form that JSON can hold; None if there is no figure."""
        if not math.isfinite(found.estimate):
            return None
        if not found.known:
            return cls(estimate=found.estimate)
        return cls(estimate=found.estimate, error=found.error, low=found.low, high=found.high)

    @property
    def interval(self) -> Interval:
        """The interval, NaN where it is not known."""
        if self.error is None or self.low is None or self.high is None:
            return Interval(self.estimate)
        return Interval(self.estimate, self.error, self.low, self.high)


class RunRow(Config):
    """Figures of one run; of a failed one, only those that its config gives.

    Of a cross-validated study, a row is the runs of all folds together.

    Attributes:
        study: Name of the study.
        arm: Name of the arm, or `teacher`.
        teacher_seed: Seed of its teacher; None if it has none.
        student_seed: Seed of the student; None of a teacher.
        steps: Optimiser steps, those of an intermediate flow included.
        learning_rate: Learning rate of the run; None where folds chose different ones.
        parameters: Number of trainable values.
        parameters_share: The same over its teacher's.
        validation: Bits per dimension on the validation rows.
        test: Bits per dimension on the test split.
        test_standard_error: Standard error of `test`, over groups of rows.
        nats: Mean log-likelihood of a test row, in nats.
        throughput_ratio: log_prob a second over the teacher's.
        sampling_ratio: Samples a second over the teacher's.
        cpu_seconds: CPU seconds of its training, that of an intermediate flow included.
        gap_closed: Share of the gap between the plain students' mean and its own teacher, on test;
            None if there is no gap.
        failed: Why it failed, or None.
        validation_bits: Bits per dimension on the validation rows, by group; not written.
        test_bits: The same on the test split.
    """

    study: str
    arm: str
    teacher_seed: int | None
    student_seed: int | None
    steps: int
    learning_rate: float | None
    parameters: int | None = None
    parameters_share: float | None = None
    validation: float | None = None
    test: float | None = None
    test_standard_error: float | None = None
    nats: float | None = None
    throughput_ratio: float | None = None
    sampling_ratio: float | None = None
    cpu_seconds: float | None = None
    gap_closed: float | None = None
    failed: str | None = None
    validation_bits: GroupBits | None = Field(None, exclude=True)
    test_bits: GroupBits | None = Field(None, exclude=True)


class SummaryRow(Config):
    """Means over the finished runs of an arm; spreads are standard deviations between runs.

    Errors and intervals are of a paired bootstrap over groups of rows: another split's, with the
    same runs.

    Attributes:
        plain: Whether it is a student trained on data alone.
        runs: Number of finished runs.
        test_error: Standard error of `test`.
        minus_plain: Test bits per dimension less those of the arm that it is compared with.
        minus_best: The same less those of the study's best arm.
        validation_minus_plain: As minus_plain, on the validation rows.
        validation_minus_best: As minus_best, on the validation rows.
        gap: gap_closed with its error.
        failed: Number of failed runs.
        missing: Number of runs that have not ended.
        gap_runs: Number of runs that have a gap_closed.
        reached: Number of runs whose gap_closed reaches the target.

    The others are as those of `RunRow`.
    """

    study: str
    arm: str
    about: str
    plain: bool = False
    runs: int
    failed: int
    missing: int
    steps: int | None = None
    validation: float | None = None
    test: float | None = None
    test_spread: float | None = None
    test_error: float | None = None
    minus_plain: Uncertain | None = None
    minus_best: Uncertain | None = None
    validation_minus_plain: Uncertain | None = None
    validation_minus_best: Uncertain | None = None
    nats: float | None = None
    gap_closed: float | None = None
    gap: Uncertain | None = None
    gap_spread: float | None = None
    gap_runs: int = 0
    reached: int = 0
    parameters: int | None = None
    parameters_share: float | None = None
    throughput_ratio: float | None = None
    sampling_ratio: float | None = None
    cpu_seconds: float | None = None


class RecipeFacts(Config):
    """A flow's shape in words, and its training."""

    flow: str
    steps: int
    batch_size: int


class StudyFacts(Config):
    """What a document says of a study beside its figures.

    Attributes:
        name: Name of the study, as in `study` of each row.
        title: Heading in the document.
        dataset: Name of the data set.
        dimensions: Number of dimensions of a row.
        rows: Number of rows by split, as far as they are used.
        groups: Number of groups of rows by split, as far as they are known.
        folds: Number of folds, if the study is cross-validated: `rows` are then all rows.
        teacher: Shape and training of the teachers.
        student: Shape and training of the plain student.
        teacher_seeds: Number of teachers.
        student_seeds: Number of students of each teacher.
        learning_rates: Validation bits per dimension of the plain student by learning rate; None
            if it is not finished.
        learning_rate: The chosen one; None if it is not chosen yet, or by each fold.
        rate_of_fold: The one that each fold chose.
        best: Name of the arm that is headlined.
        targets: What that arm is to reach.
        curves: Mean validation bits per dimension by arm, as (step, value).
    """

    name: str
    title: str
    dataset: str
    dimensions: int
    rows: dict[str, int]
    groups: dict[str, int] = Field(default_factory=dict)
    folds: int | None = None
    teacher: RecipeFacts
    student: RecipeFacts
    teacher_seeds: int
    student_seeds: int
    learning_rates: dict[str, float | None]
    learning_rate: float | None
    rate_of_fold: list[float | None] | None = None
    best: str
    targets: Targets
    curves: dict[str, list[tuple[int, float]]]


class Machine(Config):
    """The machine that runs were measured on."""

    threads: int = 1
    torch: str
    cpu: str
    date: str


class Results(Config):
    """The results of one or several studies."""

    runs: list[RunRow]
    summary: list[SummaryRow]
    studies: list[StudyFacts]
    machine: Machine

    def of(self, study: str) -> dict[str, SummaryRow]:
        """Returns the summary of one study, by arm."""
        return {row.arm: row for row in self.summary if row.study == study}
