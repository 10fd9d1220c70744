"""What the defaults choose for data of a shape, and about how long it takes on this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from flowkd.data.manifest import Manifest, Shard, Split
from flowkd.flows.build import build_flow, count_parameters, describe_flow, smaller
from flowkd.training.config import TrainingConfig
from flowkd.training.estimate import estimated_seconds
from flowkd.training.resolve import complete_run
from jobs.workflow.look import Look

# Steps of a training that ends on a plateau, from a small table, the fewest that there can be.
FEWEST, MOST = 2400, 13_000
LOOKING = 1000  # steps of all trials of a learning rate
DISTILLED = 2.5  # times a plain step: as many of the teacher's samples, which are drawn first
MEASURED = 100
SHARE = 0.25


@dataclass(frozen=True)
class Sizes:
    """What the defaults choose.

    Attributes:
        teacher: Shape of the teacher, in words.
        student: Shape of the students.
        parameters: Of the teacher.
        student_parameters: Of each student.
        milliseconds: Of one step of the teacher, measured.
        minutes: That all trainings take, the fewest and the most expected.
    """

    teacher: str
    student: str
    parameters: int
    student_parameters: int
    milliseconds: float
    minutes: tuple[float, float]

    @property
    def lasts(self) -> str:
        """How long all trainings take, in words."""
        least, most = self.minutes
        if most > 120:
            return f"{max(1, round(least / 60))} to {math.ceil(most / 60)} hours"
        return f"{max(1, round(least))} to {math.ceil(most)} minutes"


def sizes_of(look: Look, measure: bool = True) -> Sizes:
    """Returns what the defaults choose for data that were looked at.

    Args:
        look: The data.
        measure: Whether steps are timed, which takes some seconds.

    Raises:
        ConfigError: No flow is known for data of this shape.
    """
    torch.set_num_threads(TrainingConfig(name="any", dataset="any").scaling.cpus)
    teacher = complete_run(_training(), _manifest(look))
    flow = smaller(teacher.flow, SHARE)
    student = complete_run(_training().model_copy(update={"flow": flow}), _manifest(look))
    seconds = [
        estimated_seconds(run, math.inf) / MEASURED if measure else math.nan
        for run in (teacher, student)
    ]
    minutes = [
        (seconds[0] * (LOOKING + steps) + seconds[1] * (LOOKING + (1 + DISTILLED) * steps)) / 60
        for steps in (FEWEST, MOST)
    ]
    return Sizes(
        teacher=describe_flow(teacher.flow),
        student=describe_flow(flow),
        parameters=count_parameters(build_flow(teacher.flow)),
        student_parameters=count_parameters(build_flow(flow)),
        milliseconds=1000 * seconds[0],
        minutes=(minutes[0], minutes[1]),
    )


def _training() -> TrainingConfig:
    return TrainingConfig.model_validate(
        {"name": "any", "dataset": "any", "train": {"steps": MEASURED, "learning_rate": 0.001}}
    )


def _manifest(look: Look) -> Manifest:
    """Returns the manifest of a data set like what was looked at, of no rows that exist."""
    rows = max(1, int(0.8 * (look.rows or 0)))
    shard = Shard(file="none.parquet", rows=rows, sha256="0" * 64, bytes=1)
    first = look.event_shape[0]
    return Manifest(
        name="any",
        kind="image" if look.bins else "table",
        event_shape=look.event_shape,
        bins=look.bins,
        classes=look.classes,
        mean=[128.0] * first if look.bins else [0.0] * first,
        scale=[256.0] * first if look.bins else [1.0] * first,
        splits={"train": Split(rows=rows, shards=[shard])},
        source="looked at",
    )
