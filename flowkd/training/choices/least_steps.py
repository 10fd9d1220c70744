"""The fewest steps of a student whose training ends by itself: as many as its teacher took."""

from __future__ import annotations

from flowkd.registry.pins import PinnedArtifact
from flowkd.training.resolved import ResolvedRun


def with_least_steps(run: ResolvedRun, larger: PinnedArtifact | None) -> ResolvedRun:
    """Returns a run that takes at least as many steps as the larger flow did, unless it says other.

    A student that begins close to its teacher learns in steps too small for a plateau to tell from
    its end, and students of one comparison that end by themselves would otherwise differ in it.

    Args:
        run: Resolved, but for this.
        larger: The flow that it learns from or is smaller than; None if there is none.
    """
    train = run.config.train
    plateau = train.plateau
    if plateau is None or plateau.least_steps is not None:
        return run
    if larger is None or larger.steps is None or larger.steps < 1:
        return run
    least = min(larger.steps, train.most_steps)
    train = train.with_plateau(least_steps=least)
    note = f"steps: at least {least:,}, as many as {larger.reference} took"
    return run.model_copy(
        update={
            "config": run.config.model_copy(update={"train": train}),
            "notes": (*run.notes, note),
        }
    )
