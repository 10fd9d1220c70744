"""Terms of what a student decodes: for one that samples in one pass, whatever its teacher does."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from flowkd.distillation.hints import Hint
from flowkd.distillation.schedules import LossWeights
from flowkd.distillation.targets import TeacherTargets
from flowkd.flows.flow import Decoding, Flow

# Terms that the student encodes rows for, and those that it decodes latents for.
ENCODING = ("nll", "samples", "density", "latent", "hints", "log_det")
OF_DATA, FROM_NOISE = ("data_cycle",), ("noise_cycle", "reverse_kl")
CYCLES = (*OF_DATA, *FROM_NOISE)
DECODING = ("synthesis", *CYCLES, "cycle_hints")


def data_terms(
    student: Flow,
    teacher: Flow,
    hints: Sequence[Hint],
    x: Tensor,
    context: Tensor | None,
    targets: TeacherTargets,
) -> dict[str, Tensor]:
    """Returns `data_cycle`, and `cycle_hints` on its way where there are hints.

    Args:
        student: What is trained.
        teacher: Takes data to order one.
        hints: Pairs of taps; none where the term has no weight.
        x: Data and samples, (B, *event_shape).
        context: Of each row, as the flows take it.
        targets: What the teacher makes of x, its states at the hints too.
    """
    decoded = student.decode(targets.z, context, [hint.student for hint in hints])
    with torch.no_grad():
        aim, _ = teacher.preprocess(x)
    made, _ = teacher.preprocess(decoded.x)
    terms = {"data_cycle": (made - aim).square().mean()}
    if hints:
        terms["cycle_hints"] = _hinted(student, hints, decoded, targets)
    return terms


def noise_terms(
    student: Flow,
    teacher: Flow,
    hints: Sequence[Hint],
    z: Tensor,
    context: Tensor | None,
    wanted: Collection[str],
) -> dict[str, Tensor]:
    """Returns `noise_cycle`, `reverse_kl`, and `cycle_hints` on their way, which have a weight.

    Args:
        student: What is trained.
        teacher: Gradients flow through what it makes of the student's samples.
        hints: Pairs of taps; none where the term has no weight.
        z: Noise, (B, *latent_shape).
        context: Of each row, as the flows take it.
        wanted: Terms that have a weight now.
    """
    decoded = student.decode(z, context, [hint.student for hint in hints])
    encoded = teacher(decoded.x, context, [hint.teacher for hint in hints])
    terms: dict[str, Tensor] = {}
    if "noise_cycle" in wanted:
        terms["noise_cycle"] = (encoded.z - z).square().mean()
    if "reverse_kl" in wanted:
        nats = (decoded.log_prob - encoded.log_prob).mean()
        terms["reverse_kl"] = nats / student.dimensions
    if hints:
        values = {f"h:{tap}": state.h for tap, state in encoded.states.items()}
        values |= {f"log_det:{tap}": state.log_det for tap, state in encoded.states.items()}
        terms["cycle_hints"] = _hinted(student, hints, decoded, TeacherTargets(values))
    return terms


def _hinted(
    student: Flow, hints: Sequence[Hint], decoded: Decoding, teacher: TeacherTargets
) -> Tensor:
    distances = [
        hint.distance(
            decoded.states[hint.student],
            teacher.state(hint.teacher),
            student.taps[hint.student].channels,
        )
        for hint in hints
    ]
    return torch.stack(distances).mean()


def check_directions(student: Flow, teacher: Flow, weights: LossWeights) -> None:
    """Raises ValueError for terms in a direction that takes a pass for each column.

    Raises:
        ValueError: A term for which the student would go its slow way at every step; one whose
            gradient would go through the teacher's slow way.
    """
    ours, theirs = student.one_pass, teacher.one_pass
    columns = student.dimensions
    used = [name for name in type(weights).model_fields if weights.ever(name)]
    slow = [name for name in used if name in ENCODING and not ours["log_prob"]]
    if slow:
        raise ValueError(
            f"expected terms that a student which samples in one pass computes in one: "
            f"{', '.join(CYCLES)}; got weights for {', '.join(slow)}, for which it encodes rows in "
            f"{columns} passes each: set them to 0, or train a coupling flow, of one pass both ways"
        )
    slow = [name for name in used if name in DECODING and not ours["sample"]]
    if slow:
        raise ValueError(
            f"expected terms for which the student encodes rows: {', '.join(ENCODING)}; got "
            f"weights for {', '.join(slow)}, for which it decodes in {columns} passes each: set "
            f"them to 0, or train a coupling flow, or one of direction: sampling"
        )
    through = [name for name in used if name in (*FROM_NOISE, "cycle_hints")]
    slow = [] if theirs["log_prob"] else through
    if slow:
        raise ValueError(
            f"expected a teacher that encodes rows in one pass for {', '.join(slow)}, whose "
            f"gradient goes through it; got one that takes {columns} passes: set their weights to "
            f"0, or choose a teacher of direction: density"
        )
