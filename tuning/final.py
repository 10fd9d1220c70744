"""The end of a search: the best candidate is trained in full, compared, and published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cluster.storage import StorageConfig
from cluster.train.launch import run_training
from flowkd.distillation.objective import MaximumLikelihoodConfig
from flowkd.errors import RefusedError
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.figures import FlowFigures
from flowkd.evaluation.intervals import Interval, difference
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.report.caveats import with_error
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from tuning.config import FinalConfig, SearchConfig
from tuning.records import SearchRecords, Trial, best_of


def conclude(
    config: SearchConfig, storage: StorageConfig, trials: list[Trial], records: SearchRecords
) -> dict[str, Any] | None:
    """Trains the best candidate and the plain student in full, and publishes it if it passes.

    So is the default distillation, if it is not the best: where it has become better in full, on
    validation, it takes the best one's place, so that what is published is never worse either.

    What was done before is not done again: neither training nor the evaluation on the test split.
    A search that was resumed with more trials, one of which is better, concludes anew.

    Args:
        config: The search.
        storage: Holds the search, its teacher and its data set.
        trials: All trials of the search.
        records: Records of the search, which its driver holds.

    Returns:
        `trial`, the number of the best; `kept`, that of the one whose student it is about, another
        one only where the default has become better; `figures` of teacher, plain and distilled
        student on the test split, by role, and of the `default` if that is another one; `gains`,
        what the student has gained over both, on the test split; `refused`, why it is not
        published, or None; `published`, a reference or None; `earlier`, the same of what the search
        published before another trial was the best, or None. None instead of all this if no trial
        was finished, or the config has no `final`.
    """
    best, final = best_of(trials), config.final
    if best is None or final is None:
        return None
    known = records.read("outcome.json")
    if known is not None and known["trial"] == best.start.number:
        return known
    earlier = _published(known)
    kept, flows = _trained(config, final, best, trials, storage)
    judged = judge(config, final, flows, records, earlier)
    numbers = {"trial": best.start.number, "kept": kept.start.number}
    outcome = {**numbers, **judged, "earlier": earlier}
    records.write(outcome, "outcome.json")
    return outcome


def _trained(
    config: SearchConfig,
    final: FinalConfig,
    best: Trial,
    trials: list[Trial],
    storage: StorageConfig,
) -> tuple[Trial, dict[str, str]]:
    """Trains in full: returns the trial that is kept, and references of the flows by label."""
    kept, run = best, run_training(final_run(config, final, best), storage)
    others = {}
    default = next((t for t in trials if t.start.role == "default" and t != best), None)
    if default is not None and default.state == "finished":
        other = run_training(final_run(config, final, default, "default"), storage)
        if _validation(other, storage.store()) < _validation(run, storage.store()):
            kept, run = default, other
        else:
            others = {"default": other}
    plain, student = run, final_run(config, final, kept)
    if student.distillation is not None:
        changes = {
            "name": _run_name(config, kept, "plain"), "objective": MaximumLikelihoodConfig(),
        }  # fmt: skip
        plain = run_training(student.model_copy(update=changes), storage)
    return kept, {"teacher": config.teacher, "plain": plain, "distilled": run, **others}


def _validation(run: str, store: Store) -> float:
    return float(load_artifact(store, run).metrics["validation_bits_per_dim"])


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
        flows: References of `teacher`, `plain` and `distilled` student, and of the `default` if it
            is another one.
        records: Records of the search, in the store of the flows and the data set.
        earlier: The outcome of which the search has published a student before; default none.

    Returns:
        `figures`, `gains`, `refused` and `published`, as `conclude` returns them.
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
        "gains": gains_on_test(figures),
        "refused": refused,
        "published": published,
    }


def gains_on_test(figures: Mapping[str, FlowFigures]) -> dict[str, dict[str, float | None]]:
    """Returns by how many bits per dimension the student is better than others on the same rows.

    For `default`, if it was trained, and `plain`, each an `estimate` and its standard `error`,
    None where that is not known.
    """
    student, found = figures["distilled"], {}
    for label in ("default", "plain"):
        if label in figures:
            gain = gain_over(figures[label], student)
            error = gain.error if gain.known else None
            found[label] = {"estimate": gain.estimate, "error": error}
    return found


def gain_over(other: FlowFigures, student: FlowFigures) -> Interval:
    """Returns by how many bits per dimension a student is better than another flow."""
    if other.by_group and student.by_group:
        return difference(other.by_group, student.by_group)
    return Interval(other.bits_per_dim - student.bits_per_dim)


def final_run(
    config: SearchConfig, final: FinalConfig, best: Trial, role: str = "best"
) -> TrainingConfig:
    """Returns the config of a trial's full training; `role` ends its name."""
    values = TrainingConfig.model_validate(best.training)
    steps = final.steps or config.train.steps
    return values.model_copy(
        update={
            "name": _run_name(config, best, role),
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
        f"student of trial {earlier['kept']} {before.validation.mean:.4f}: "
        f"{earlier['published']} stays"
    )


def _error(distilled: FlowFigures, plain: FlowFigures) -> str:
    if not (distilled.by_group and plain.by_group):
        return ""
    return f" (a difference of {with_error(difference(distilled.by_group, plain.by_group))})"
