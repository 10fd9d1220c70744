"""A study's outcome as data: what `results/study.json` holds, and all that its document needs."""

from __future__ import annotations

from flowkd.config import Config
from jobs.study.config import Targets


class RunRow(Config):
    """Figures of one run; without those of its result where it failed.

    Attributes:
        study: Its name.
        steps: Optimiser steps, those of an intermediate flow included.
        parameters_share: Of its teacher's.
        validation: Bits per dimension; so is test.
        nats: Mean log-likelihood of a test row.
        throughput_ratio: log_prob calls per second over the teacher's.
        sampling_ratio: The same of sampling.
        gap_closed: Share of the gap between the plain students' mean and its own teacher, on test;
            None where there is no gap.
        failed: Why there is no result.
    """

    study: str
    arm: str
    teacher_seed: int | None
    student_seed: int | None
    steps: int
    learning_rate: float
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


class SummaryRow(Config):
    """Means over the finished runs of an arm, and spreads: standard deviations between runs.

    Attributes:
        plain: Whether it is a student trained on data alone.
        runs: How many there are; failed and missing ones are counted apart.
        gap_runs: How many of them have a gap_closed.
        reached: In how many of these it is at least the target.
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
    nats: float | None = None
    gap_closed: float | None = None
    gap_spread: float | None = None
    gap_runs: int = 0
    reached: int = 0
    parameters: int | None = None
    parameters_share: float | None = None
    throughput_ratio: float | None = None
    sampling_ratio: float | None = None
    cpu_seconds: float | None = None


class RecipeFacts(Config):
    """A flow's shape and training, for the reader."""

    flow: str
    steps: int
    batch_size: int


class StudyFacts(Config):
    """What a reader must know of a study beside its figures.

    Attributes:
        name: Of the study, as in `study` of each row.
        rows: Number of rows that each split has, or that are used of it.
        learning_rates: Validation bits per dimension of the plain student by learning rate, as
            far as it was trained.
        learning_rate: The chosen one.
        best: The arm that is headlined.
        curves: Mean validation bits per dimension by arm, as (step, value).
    """

    name: str
    title: str
    dataset: str
    dimensions: int
    rows: dict[str, int]
    teacher: RecipeFacts
    student: RecipeFacts
    teacher_seeds: int
    student_seeds: int
    learning_rates: dict[str, float | None]
    learning_rate: float | None
    best: str
    targets: Targets
    curves: dict[str, list[tuple[int, float]]]


class Machine(Config):
    """What it was measured on."""

    threads: int = 1
    torch: str
    cpu: str
    date: str


class Results(Config):
    """All of it."""

    runs: list[RunRow]
    summary: list[SummaryRow]
    studies: list[StudyFacts]
    machine: Machine

    def of(self, study: str) -> dict[str, SummaryRow]:
        """Returns the summary of one study, by arm."""
        return {row.arm: row for row in self.summary if row.study == study}
