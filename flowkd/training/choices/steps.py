"""The steps of a student where its config leaves them open: as many as its teacher took."""

from __future__ import annotations

import math

from flowkd.registry.pins import PinnedArtifact
from flowkd.training.resolved import ResolvedRun


def with_steps(run: ResolvedRun, larger: PinnedArtifact | None) -> ResolvedRun:
    """Returns a run that takes as many steps as the larger flow did, in one fall of the rate.

    How far a training has to go is a question of the data, which the teacher's has answered; and
    students of one comparison are to have learnt for as long. Most of all one that begins close to
    its teacher: it learns in steps too small to tell from its end.

    Args:
        run: Resolved, but for this; one whose config says how many steps stays as it is.
        larger: The flow that it learns from or is smaller than; None if there is none.
    """
    train = run.config.train
    plateau = train.plateau
    if plateau is None or (plateau.least_steps, plateau.most_steps) != (None, None):
        return run
    if larger is None or larger.steps is None or larger.steps < 1:
        return run
    steps = min(larger.steps, train.steps)
    cycle = math.ceil(steps / run.validate_every)
    train = train.with_plateau(least_steps=steps, most_steps=steps, first_cycle=cycle)
    note = f"steps: {steps:,}, as many as {larger.reference} took"
    return run.model_copy(
        update={
            "config": run.config.model_copy(update={"train": train}),
            "notes": (*run.notes, note),
        }
    )
