"""Hints: pairs of places in student and teacher at which the states should be the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from flowkd.bijectors import State
from flowkd.config import Config
from flowkd.flows.flow import Flow
from flowkd.flows.teacher import Teacher

SMALLEST_VARIANCE = 1e-4


class Hint(Config):
    """A pair of bijectors after which the student's state should be the teacher's.

    Attributes:
        student: Path of the student's bijector.
        teacher: Path of the teacher's.
        channels: Compare the whole state, or the active channels alone, which the bijector sees.
        normalize: Divide the distance by the variance of the teacher's state in the batch, that
            of all workers together.
    """

    student: str
    teacher: str
    channels: Literal["all", "active"] = "all"
    normalize: bool = False

    def __str__(self) -> str:
        return f"hint {self.student} <- {self.teacher}"

    def distance(self, student: State, teacher: State, active: int) -> Tensor:
        """Returns the mean square distance of two states, a scalar.

        Args:
            student: State of the student at its tap.
            teacher: State of the teacher at its own.
            active: Number of leading channels that the bijector sees.
        """
        ours, theirs = student.h, teacher.h
        if self.channels == "active":
            ours, theirs = ours[:, :active], theirs[:, :active]
        distance = (ours - theirs).square().mean()
        if self.normalize:
            distance = distance / batch_variance(theirs).clamp_min(SMALLEST_VARIANCE)
        return distance


@torch.no_grad()
def batch_variance(values: Tensor) -> Tensor:
    """Returns the variance of values over the rows of all workers, a scalar without a gradient.

    In a process group every process has to call it, with its own rows: a worker's alone would make
    the loss depend on the number of workers.
    """
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return values.var()
    exact = values.double()
    sums = torch.stack([torch.ones_like(exact).sum(), exact.sum(), exact.square().sum()])
    dist.all_reduce(sums)
    count, total, squares = sums
    return ((squares - total.square() / count) / (count - 1)).to(values)


def check_hints(student: Flow, teacher: Teacher, hints: Sequence[Hint]) -> None:
    """Raises ValueError for pairs that could not teach.

    Raises:
        ValueError: A pair named twice; a tap that does not exist; states, or active channels, of
            unequal shapes; a student's tap that no parameter precedes.
    """
    pairs = [(hint.student, hint.teacher) for hint in hints]
    if len(set(pairs)) < len(pairs):
        raise ValueError("expected each hint once; got a pair twice")
    for hint in hints:
        for role, taps, name in (
            ("student", student.taps, hint.student),
            ("teacher", teacher.taps, hint.teacher),
        ):
            if name not in taps:
                raise ValueError(
                    f"{hint}: the {role} has no tap {name!r}; valid taps are {', '.join(taps)}"
                )
        _check_shapes(hint, student, teacher)
        if not student.taps[hint.student].parameters:
            learning = [name for name, tap in student.taps.items() if tap.parameters]
            raise ValueError(
                f"{hint}: no student parameter precedes {hint.student!r}, so that it would teach "
                f"nothing; valid student taps are {', '.join(learning)}"
            )


def _check_shapes(hint: Hint, student: Flow, teacher: Teacher) -> None:
    ours, theirs = student.taps[hint.student], teacher.taps[hint.teacher]
    same = [name for name, tap in teacher.taps.items() if tap.shape == ours.shape]
    if ours.shape != theirs.shape:
        raise ValueError(
            f"{hint}: expected equal shapes; got {ours.shape} and {theirs.shape}; "
            f"teacher taps of {ours.shape} are {', '.join(same) or 'none'}"
        )
    if hint.channels == "active" and ours.channels != theirs.channels:
        fitting = [name for name in same if teacher.taps[name].channels == ours.channels]
        raise ValueError(
            f"{hint}: expected equally many active channels; got {ours.channels} and "
            f"{theirs.channels}; teacher taps of {ours.channels} are {', '.join(fitting) or 'none'}"
        )
