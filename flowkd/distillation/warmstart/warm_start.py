"""The four ways to begin from another flow, behind one door."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from flowkd.distillation.warmstart.affine import Affine
from flowkd.distillation.warmstart.beginning import better_than_new
from flowkd.distillation.warmstart.check import (
    WarmStart,
    as_steps,
    check_warm_start,
    fewer,
    narrower,
)
from flowkd.distillation.warmstart.converted import fold_converted
from flowkd.distillation.warmstart.depth import fold_depth
from flowkd.distillation.warmstart.layout import blocks, matched
from flowkd.distillation.warmstart.select import Select, largest, most_telling
from flowkd.distillation.warmstart.width import narrow
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.converted.config import ConvertedConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow

THIN = {"width": 1, "inner": None}


@torch.no_grad()
def warm_start(
    kind: WarmStart,
    student: Flow,
    student_config: FlowConfig,
    source: Flow,
    source_config: FlowConfig,
    x: Tensor,
    context: Tensor | None = None,
) -> None:
    """Sets a student's parameters from those of a larger flow; the same data give the same student.

    A fold is compared with what the student was: a new flow, as a rule, initialised.

    Args:
        kind: `fold` to begin as the best small copy of the source; `inherit` to take its ActNorm,
            mixes and split priors alone; `slice` or `copy` to take a part of it as it is.
        student: Of the source's family, at most as deep and as wide; is changed. `inherit` leaves
            its coupling networks as they are and takes them to be new: zero in the last layer.
        student_config: What it was built from.
        source: The larger flow; only read.
        source_config: What it was built from.
        x: Calibration data, (B, *event_shape), in data units; some hundred different rows.
        context: Context of the calibration data, as the flow takes it; None for none.

    Raises:
        ValueError: What `check_warm_start` refuses, or data that are not the source's.
        WorseThanNewError: A fold of which the data are less likely than of what the student was,
            which it is then again.
    """
    check_warm_start(kind, student_config, source_config, rows=len(x))
    vectors = source.encode_context(context, x)
    source(x[:1], None if context is None else context[:1])  # it refuses what is not its data
    judged = better_than_new(student, source, x, context) if kind == "fold" else nullcontext()
    with judged:
        _begin(kind, student, student_config, source, source_config, x, context, vectors)


def _begin(
    kind: WarmStart,
    student: Flow,
    student_config: FlowConfig,
    source: Flow,
    source_config: FlowConfig,
    x: Tensor,
    context: Tensor | None,
    vectors: Tensor | None,
) -> None:
    if isinstance(student_config, ConvertedConfig) and isinstance(source_config, ConvertedConfig):
        fold_converted(student, student_config, source, source_config, x, context)
        return
    ours, theirs = as_steps(student_config), as_steps(source_config)
    if kind == "inherit":
        _inherit(student, source, source_config, x, vectors)
        return
    if kind == "fold" and fewer(ours, theirs, "depth"):
        shallow = build_flow(theirs.model_copy(update={"depth": ours.depth})).to(x)
        fold_depth(source, shallow, x, vectors)
        source = shallow
    _take(student, source)
    if narrower(ours, theirs):
        _narrow(student, source, x, vectors, most_telling if kind == "fold" else largest)


def _take(student: Flow, source: Flow) -> None:
    """Copies what a student's units share in shape with the last of those they stand for."""
    for unit, group in matched(student, source):
        theirs = group[-1].bijector.state_dict()
        for name, value in unit.bijector.state_dict().items():
            if value.shape == theirs[name].shape:
                value.copy_(theirs[name])


def _narrow(student: Flow, source: Flow, x: Tensor, context: Tensor | None, select: Select) -> None:
    """Sets each narrow network from the wide one it stands for, on what that sees in the source."""
    narrower = {group[-1].path: unit for unit, group in matched(student, source)}
    h = x
    for unit in (unit for segment in blocks(source) for unit in segment):
        after, _ = unit(h, context)
        if unit.is_step and unit.path in narrower:
            seen = unit.seen(Affine.of(unit.step)(h[:, : unit.channels]), after)
            large, small = unit.conditioner, narrower[unit.path].conditioner
            if count_parameters(small) < count_parameters(large):
                narrow(large, small, seen, context, select)
        h = after


def _inherit(
    student: Flow,
    source: Flow,
    source_config: FlowConfig,
    x: Tensor,
    context: Tensor | None,
) -> None:
    """Sets ActNorm, mixes and split priors; couplings are taken to be the identity.

    The source's ActNorms expect what its couplings yield. Without those they are initialised anew,
    and before steps are composed: the scales inside a composed map could not be, afterwards.
    """
    thin = {key: value for key, value in THIN.items() if hasattr(source_config, key)}
    linear = build_flow(source_config.model_copy(update=thin)).to(x)
    for unit, (original,) in matched(linear, source):
        if unit.is_step:
            unit.step["mix"].load_state_dict(original.step["mix"].state_dict())
        else:
            unit.bijector.load_state_dict(original.bijector.state_dict())
    linear.chain.initialize(x, context)
    for unit, group in matched(student, linear):
        if unit.is_step:
            Affine.of_all([original.step for original in group]).write(unit.step)
        else:
            unit.bijector.load_state_dict(group[-1].bijector.state_dict())
