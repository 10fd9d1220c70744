"""A student that begins as the best small copy of its teacher: closed form, no gradients.

Depth: a coupling that goes is replaced by its best linear fit on calibration data, which merges
into the next step's 1x1 convolution; which ones go is chosen greedily by likelihood. Width: of
each network's hidden units, those are kept from which the others are best reconstructed, and the
reconstruction is added to the outgoing weights of those that stay.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flowkd.bijectors import AffineCoupling
from flowkd.build import CouplingConfig, GlowConfig, build_flow
from flowkd.flow import Flow
from flowkd.warmstart.depth import fold_depth
from flowkd.warmstart.width import coupling_inputs, fold_width

__all__ = ["check_foldable", "fold"]


@torch.no_grad()
def fold(
    student: Flow,
    student_config: GlowConfig | CouplingConfig,
    teacher: Flow,
    teacher_config: GlowConfig | CouplingConfig,
    x: Tensor,
    context: Tensor | None = None,
) -> None:
    """Sets a student's parameters from its teacher's: first fewer steps, then narrower networks.

    The same calibration data give the same student.

    Args:
        student: Of the teacher's family, at most as deep and as wide; is changed.
        student_config: What it was built from.
        teacher: Is only read.
        teacher_config: What it was built from.
        x: Calibration data, (B, *event_shape), in data units; some hundred rows.
        context: Of the calibration data.

    Raises:
        ValueError: A student that is no smaller copy of its teacher's family.
    """
    check_foldable(student_config, teacher_config)
    vectors = teacher.encode_context(context, x)
    if student_config.steps < teacher_config.steps:
        shallow = build_flow(teacher_config.model_copy(update={"steps": student_config.steps}))
        fold_depth(teacher, shallow.to(x), x, vectors)
        teacher = shallow
    state, source = student.state_dict(), teacher.state_dict()
    for name, value in state.items():
        if value.shape == source[name].shape:
            value.copy_(source[name])
    if student_config.width < teacher_config.width:
        for path, kept in coupling_inputs(teacher, x, vectors):
            large, small = teacher.chain[path], student.chain[path]
            assert isinstance(large, AffineCoupling)
            assert isinstance(small, AffineCoupling)
            fold_width(large.conditioner, small.conditioner, kept, vectors)


def check_foldable(
    student: GlowConfig | CouplingConfig, teacher: GlowConfig | CouplingConfig
) -> None:
    """Raises ValueError unless a student differs from its teacher by fewer steps or less width."""
    free = {"steps", "width"}
    ours, theirs = student.model_dump(exclude=free), teacher.model_dump(exclude=free)
    for key, value in theirs.items():
        if ours.get(key) != value:
            raise ValueError(
                f"expected a student of the teacher's {key}, {value}; got {ours.get(key)}: only "
                f"steps and width may be smaller"
            )
    for key in sorted(free):
        if getattr(student, key) > getattr(teacher, key):
            raise ValueError(
                f"expected a student of at most the teacher's {key}, {getattr(teacher, key)}; "
                f"got {getattr(student, key)}"
            )
    merges = not isinstance(student, CouplingConfig) or student.mix == "linear"
    if student.steps < teacher.steps and not merges:
        raise ValueError("expected mix: linear, into which steps merge; got reverse")
