"""Fewer steps: a map that goes becomes its best linear fit, merged into the next step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from flowkd.bijectors import Chain
from flowkd.distillation.warmstart.affine import Affine
from flowkd.distillation.warmstart.batching import leading_rows
from flowkd.distillation.warmstart.layout import Unit, blocks, mapped
from flowkd.distillation.warmstart.prune_steps import Choice
from flowkd.distillation.warmstart.steps import FittedLevel, FittedStep
from flowkd.flows.flow import Flow

SCORING_PLACES = 4096


def fold_depth(source: Flow, shallow: Flow, x: Tensor, context: Tensor | None) -> None:
    """Fills a flow of fewer steps.

    Args:
        source: The flow of more steps; only read.
        shallow: As the source, but of fewer steps; is changed.
        x: Calibration data, (B, *event_shape).
        context: Encoded context of the calibration data, (B, width); None for none.
    """
    counts = [len(targets) for targets in blocks(shallow)]
    stages = _choose(list(blocks(source)), counts, x, context)
    h = x
    for stage, targets in zip(stages, blocks(shallow), strict=True):
        if isinstance(stage, FittedLevel):
            stage = stage.settle(h, context)
            _write(stage.parts, [target.step for target in targets])
            h, _ = stage(h, context)
            continue
        for unit, target in zip(stage, targets, strict=True):
            target.bijector.load_state_dict(unit.bijector.state_dict())
            h, _ = unit(h, context)


def _choose(
    source: Sequence[list[Unit]], counts: Sequence[int], x: Tensor, context: Tensor | None
) -> list[FittedLevel | list[Unit]]:
    """Returns levels in which so many couplings stay, and what stands between them.

    The last level first: each is chosen with all after it folded already, which saves much time.
    """
    entries = [x]
    for units in source:
        h = entries[-1]
        for unit in units:
            h, _ = unit(h, context)
        entries.append(h)
    chosen: list[FittedLevel | list[Unit]] = []
    after: list[FittedLevel | Unit] = []
    for units, count, h in reversed(list(zip(source, counts, entries, strict=False))):
        if units[0].is_step:
            level = FittedLevel(
                [FittedStep(Affine.of(unit.step), unit.mapped) for unit in units],
                units[0].channels,
            )
            level = Choice(after, *leading_rows(h, context, SCORING_PLACES))(level, count)
            chosen, after = [level, *chosen], [level, *after]
        else:
            chosen, after = [units, *chosen], [*units, *after]
    return chosen


def _write(parts: Sequence[FittedStep], steps: Sequence[Chain]) -> None:
    """Sets the steps that stay; linear parts merge into the affine map of the next of them."""
    pending = Affine.identity(len(parts[0].affine.shift))
    filled = iter(steps)
    for part in parts:
        pending = part.affine.after(pending)
        if part.linear is not None:
            pending = part.linear.after(pending)
            continue
        step = next(filled)
        pending.write(step)
        mapped(step).load_state_dict(part.mapped.state_dict())
        pending = Affine.identity(len(pending.shift))
