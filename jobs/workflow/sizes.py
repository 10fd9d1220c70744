"""What the defaults choose for data of a shape, and about how long it takes on this machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from flowkd.data.manifest import Manifest, Shard, Split
from flowkd.flows.build import OF_DATA, build_flow, count_parameters, describe_flow, smaller
from flowkd.flows.family import FlowConfig
from flowkd.training.choices.default_flow import ABOUT, Family, default_flow
from flowkd.training.choices.picture_size import Budget
from flowkd.training.config import TrainingConfig
from flowkd.training.estimate import estimated_seconds
from flowkd.training.resolve import complete_run
from flowkd.training.resolved import ResolvedRun
from jobs.workflow.look import Look

# Steps of a training that ends on a plateau, from a small table, the fewest that there can be, to a
# large one that is learnt for long (docs/results/journeys.md).
FEWEST, MOST = 3000, 63_000
LOOKING = 1000  # steps of all trials of a learning rate
DISTILLED = 2.5  # times a plain step: as many of the teacher's samples, which are drawn first
MEASURED = 100
SHARE = 0.25


@dataclass(frozen=True)
class Sizes:
    """What the defaults choose.

    Attributes:
        flow: Keys of the teacher's flow, as a file names it.
        why: Why it is of this family, in words.
        shape: Of a row of the data.
        teacher: Shape of the teacher, in words.
        student: Shape of the students.
        parameters: Of the teacher.
        student_parameters: Of each student.
        milliseconds: Of one step of the teacher, measured.
        steps: Of each training, the fewest and the most expected.
        minutes: That all trainings take with them.
    """

    flow: dict[str, Any]
    why: str
    shape: tuple[int, ...]
    teacher: str
    student: str
    parameters: int
    student_parameters: int
    milliseconds: float
    steps: tuple[int, int]
    minutes: tuple[float, float]

    @property
    def lasts(self) -> str:
        """How long all trainings take, in words."""
        least, most = self.minutes
        if most > 120:
            return f"{max(1, round(least / 60))} to {math.ceil(most / 60)} hours"
        return f"{max(1, round(least))} to {math.ceil(most)} minutes"


def sizes_of(look: Look, family: Family | None = None, measure: bool = True) -> Sizes:
    """Returns what the defaults choose for data that were looked at.

    Args:
        look: The data.
        family: Of the teacher; default the best that is known for the data.
        measure: Whether steps are timed, which takes some seconds.

    Raises:
        ConfigError: No flow is known for data of this shape, or a family of others.
    """
    torch.set_num_threads(TrainingConfig(name="any", dataset="any").scaling.cpus)
    manifest, run = _manifest(look), _training()
    budget = Budget(run.minutes, run.batch_size, threads=run.scaling.cpus)
    chosen = default_flow(manifest, budget, family)
    teacher = _of(chosen.flow, manifest)
    student = _of(smaller(teacher.flow, SHARE), manifest)
    flow = student.flow
    seconds = [
        estimated_seconds(run, math.inf) / MEASURED if measure else math.nan
        for run in (teacher, student)
    ]
    expected = (FEWEST, chosen.steps or MOST)
    minutes = [
        (seconds[0] * (LOOKING + steps) + seconds[1] * (LOOKING + (1 + DISTILLED) * steps)) / 60
        for steps in expected
    ]
    return Sizes(
        flow=_given(teacher.flow),
        why=_why(teacher.flow),
        shape=tuple(manifest.event_shape),
        teacher=describe_flow(teacher.flow),
        student=describe_flow(flow),
        parameters=count_parameters(build_flow(teacher.flow)),
        student_parameters=count_parameters(build_flow(flow)),
        milliseconds=1000 * seconds[0],
        steps=expected,
        minutes=(minutes[0], minutes[1]),
    )


def _of(flow: FlowConfig, manifest: Manifest) -> ResolvedRun:
    return complete_run(_training().model_copy(update={"flow": flow}), manifest)


def _given(flow: FlowConfig) -> dict[str, Any]:
    """Returns what a file says of a flow: nothing of what its data tell."""
    left_out = {*OF_DATA, "context_size", "classes", "kind"}
    values = flow.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
    sizes = {key: getattr(flow, key) for key in ("levels", "depth", "width") if hasattr(flow, key)}
    return {"kind": flow.kind, **sizes, **values}


def _why(flow: FlowConfig) -> str:
    affine = getattr(flow, "transform", None) == "affine"
    name = ("coupling" if affine else "spline") if flow.kind == "coupling" else flow.kind
    return ABOUT.get(name, flow.kind)


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
