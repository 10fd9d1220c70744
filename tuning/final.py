"""The end of a search: the best candidate is trained in full, compared, and published."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from cluster.storage import StorageConfig
from cluster.train.launch import run_training
from flowkd.distillation.objective import MaximumLikelihoodConfig
from flowkd.errors import RefusedError
from flowkd.evaluation.compare import EvaluationConfig, FlowFigures, evaluate
from flowkd.evaluation.intervals import difference
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.report.caveats import with_error
from flowkd.training.config import TrainingConfig
from tuning.config import FinalConfig, SearchConfig
from tuning.records import SearchRecords, Trial, best_of


def conclude(
    config: SearchConfig, storage: StorageConfig, trials: list[Trial], records: SearchRecords
) -> dict[str, Any] | None:
    """Trains the best candidate and the plain student in full, and publishes it if it passes.

    What was done before is not done again: neither training nor the evaluation on the test split.
    A search that was resumed with more trials, one of which is better, concludes anew.

    Args:
        config: The search.
        storage: Holds the search, its teacher and its data set.
        trials: All trials of the search.
        records: Records of the search, which its driver holds.

    Returns:
        `trial`, its number; `figures` of teacher, plain and distilled student on the test split, by
        role; `refused`, why it is not published, or None; `published`, a reference or None;
        `earlier`, the same of what the search published before another trial was the best, or
        None. None instead of all this if no trial was finished, or the config has no `final`.
    """
    best, final = best_of(trials), config.final
    if best is None or final is None:
        return None
    known = records.read("outcome.json")
    if known is not None and known["trial"] == best.start.number:
        return known
    earlier = _published(known)
    student = final_run(config, final, best)
    plain = student.model_copy(
        update={
            "name": _run_name(config, best, "plain"),
            "objective": MaximumLikelihoodConfig(),
        }
    )
    flows = {
        "teacher": config.teacher,
        "plain": run_training(plain, storage),
        "distilled": run_training(student, storage),
    }
    judged = judge(config, final, flows, records, earlier)
    outcome = {"trial": best.start.number, **judged, "earlier": earlier}
    records.write(outcome, "outcome.json")
    return outcome


def _published(known: dict[str, Any] | None) -> dict[str, Any] | None:
    """Returns the last outcome of which a student was published."""
    if known is None or known["published"]:
        return None if known is None else {**known, "earlier": None}
    found: dict[str, Any] | None = known["earlier"]
    return found


def _run_name(config: SearchConfig, best: Trial, role: str) -> str:
    # By its trial: another one is another run.
    return f"search-{config.name}-{best.start.number:04}-{role}"


def judge(
    config: SearchConfig,
    final: FinalConfig,
    flows: dict[str, str],
    records: SearchRecords,
    earlier: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluates flows on the test split, and publishes the distilled student if it passes.

    Args:
        config: The search.
        final: What the student must pass, and what it is published as.
        flows: References of `teacher`, `plain` and `distilled` student.
        records: Records of the search, in the store of the flows and the data set.
        earlier: The outcome of which the search has published a student before; default none.

    Returns:
        `figures`, `refused` and `published`, as `conclude` returns them.
    """
    evaluation = EvaluationConfig(
        name=f"search-{config.name}",
        flows=flows,
        dataset=config.dataset,
        rows=final.test_rows,
        seconds=final.throughput_seconds,
    )
    store, held = records.store, records.check_held
    figures = evaluate(evaluation, store, held)
    refused = refusal(figures, final) or worse_than_earlier(figures["distilled"], earlier)
    published = None
    if refused is None:
        publication = PublishConfig(
            model=final.model,
            source=flows["distilled"],
            alias=final.alias,
            evaluation=evaluation.name,
            search=config.name,
            max_round_trip_error=final.max_round_trip_error,
            force=final.force,
        )
        try:
            published = f"models/{final.model}@{publish_run(publication, store, held)}"
        except RefusedError as error:
            refused = str(error)
    return {
        "figures": {role: asdict(each) for role, each in figures.items()},
        "refused": refused,
        "published": published,
    }


def final_run(config: SearchConfig, final: FinalConfig, best: Trial) -> TrainingConfig:
    """Returns the config of the best candidate's full training."""
    values = TrainingConfig.model_validate(best.training)
    steps = final.steps or config.train.steps
    return values.model_copy(
        update={
            "name": _run_name(config, best, "best"),
            "train": values.train.model_copy(update={"steps": steps}),
            "scaling": config.scaling,
        }
    )


def refusal(figures: dict[str, FlowFigures], final: FinalConfig) -> str | None:
    """Returns why a student must not be published, or None if it may be."""
    distilled, plain = figures["distilled"], figures["plain"]
    if not math.isfinite(distilled.bits_per_dim):
        return f"its likelihood is not finite: {distilled.bits_per_dim} bits/dim"
    if not distilled.round_trip <= final.max_round_trip_error:
        return (
            f"its error from x to z and back is {distilled.round_trip:.1e}; expected at most "
            f"{final.max_round_trip_error:g}"
        )
    if distilled.bits_per_dim > plain.bits_per_dim:
        return (
            f"it has {distilled.bits_per_dim:.4f} bits/dim on the test split, the plain student "
            f"{plain.bits_per_dim:.4f}{_error(distilled, plain)}: a search for longer, or another "
            f"space, may do better"
        )
    return None


def worse_than_earlier(distilled: FlowFigures, earlier: dict[str, Any] | None) -> str | None:
    """Returns why a student must not take the place of the one that was published before it.

    What one trial promised over another, in few steps and by chance, a whole training may not keep.
    They are compared on validation: the test split chooses nothing.
    """
    before = FlowFigures.read(earlier["figures"]["distilled"]) if earlier else None
    if earlier is None or before is None or before.validation is None:
        return None
    if distilled.validation is None or distilled.validation.mean <= before.validation.mean:
        return None
    return (
        f"trained in full it has {distilled.validation.mean:.4f} bits/dim on validation, and the "
        f"student of trial {earlier['trial']} {before.validation.mean:.4f}: "
        f"{earlier['published']} stays"
    )


def _error(distilled: FlowFigures, plain: FlowFigures) -> str:
    if not (distilled.by_group and plain.by_group):
        return ""
    return f" (a difference of {with_error(difference(distilled.by_group, plain.by_group))})"
