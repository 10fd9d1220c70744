"""Weights of a student's loss terms where its config names none: what is best for its family."""

from __future__ import annotations

from flowkd.distillation.objective import BEST_WEIGHTS, DECODED_WEIGHTS
from flowkd.distillation.schedules import LossWeights
from flowkd.flows.build import build_flow
from flowkd.flows.family import FlowConfig
from flowkd.training.resolved import ResolvedRun


def with_weights(run: ResolvedRun) -> ResolvedRun:
    """Returns a run with the weights of its config, or the best for a student like its own."""
    settings = run.config.distillation
    if settings is None or "weights" in settings.model_fields_set or encodes_in_one_pass(run.flow):
        return run
    objective = settings.model_copy(update={"weights": DECODED_WEIGHTS})
    given = ", ".join(f"{name} {value:g}" for name, value in DECODED_WEIGHTS.at(0).items() if value)
    note = f"weights: {given}, for a student that encodes rows column by column"
    return run.model_copy(
        update={
            "config": run.config.model_copy(update={"objective": objective}),
            "notes": (*run.notes, note),
        }
    )


def default_weights(flow: FlowConfig) -> LossWeights:
    """Returns the weights for a student of this config, complete, where nothing is said."""
    return BEST_WEIGHTS if encodes_in_one_pass(flow) else DECODED_WEIGHTS


def encodes_in_one_pass(flow: FlowConfig) -> bool:
    """Tells whether flows of a complete config compute log_prob in one pass."""
    return build_flow(flow).one_pass["log_prob"]
