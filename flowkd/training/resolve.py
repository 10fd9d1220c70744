"""A run with everything that its config refers to looked up, once, before anything else."""

from __future__ import annotations

import yaml

from flowkd.config import dump_config, parse_config
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.distillation.objective import DistillationConfig
from flowkd.errors import ConfigError, StoreError
from flowkd.flows.build import build_flow
from flowkd.flows.teacher import Teacher
from flowkd.registry.pins import PinnedArtifact, pin_artifact
from flowkd.store.sealed import read_sealed_text, write_sealed_text
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import REMOVING
from flowkd.training.choices.complete_flow import complete_flow, complete_like
from flowkd.training.choices.flow import with_flow
from flowkd.training.choices.steps import with_steps
from flowkd.training.choices.warm_start import with_warm_start
from flowkd.training.choices.weights import with_weights
from flowkd.training.config import MAY_CHANGE, NO_DATA, TrainingConfig
from flowkd.training.foreign_teacher import PinnedForeign, pin_foreign
from flowkd.training.resolved import ResolvedRun


def resolve_run(config: TrainingConfig, store: Store) -> ResolvedRun:
    """Looks up and checks all that a config refers to: its data set and flows, but no weights.

    What a run of this name has resolved before stays as it was then.

    Args:
        config: The run as it was given.
        store: The store that holds its data set and flows.

    Raises:
        ConfigError: The flow contradicts its data set, the objective names taps that do not exist,
            or the warm start cannot be, for the shapes of the flows or for want of rows.
        DataError: No such data set.
        StoreError: No such teacher, or no such flow to begin from; the run is removed in part.
    """
    check_not_removed(store, config.name)
    known = _resolved_before(config, store)
    if known is not None:
        return known
    manifest = None if config.dataset == NO_DATA else read_manifest(store, config.dataset)
    teacher: PinnedArtifact | PinnedForeign | None = None
    source, adapter = None, None
    if config.distillation is not None:
        if isinstance(config.distillation.teacher, str):
            teacher = pin_artifact(store, config.distillation.teacher)
        else:
            teacher, adapter = pin_foreign(config.distillation.teacher)
        if config.distillation.source is not None:
            source = pin_artifact(store, config.distillation.source)
    run = complete_run(config, manifest, teacher, source, _larger(config, store), store)
    ready: Teacher | None = adapter
    if isinstance(teacher, PinnedArtifact):
        ready = build_flow(teacher.flow)
    run.build_objective(build_flow(run.flow), ready)
    return run


def check_not_removed(store: Store, run: str) -> None:
    """Raises StoreError for a run of which a removal was cut off."""
    if store.exists("runs", run, REMOVING):
        raise StoreError(
            f"run {run!r} is removed in part: `flowkd runs remove {run}` removes the rest"
        )


def complete_run(
    config: TrainingConfig,
    manifest: Manifest | None,
    teacher: PinnedArtifact | PinnedForeign | None = None,
    source: PinnedArtifact | None = None,
    larger: PinnedArtifact | None = None,
    store: Store | None = None,
) -> ResolvedRun:
    """Completes a config from what it refers to; raises ConfigError where they do not fit."""
    notes: list[str] = []
    by_data = config.flow is None and teacher is None and larger is None
    if isinstance(teacher, PinnedForeign):
        if config.flow is None and manifest is None:
            raise ConfigError(
                f"flow: expected one for the student of {teacher.reference}, which is used as it "
                f"is, without data; got none: name it"
            )
    else:
        larger = teacher or larger
    config = with_flow(config, manifest, larger, notes, store)
    assert config.flow is not None
    if manifest is not None:
        flow = complete_flow(config.flow, manifest)
    else:
        assert teacher is not None
        found = teacher.shape() if isinstance(teacher, PinnedForeign) else dict(teacher.flow)
        flow = complete_like(config.flow, found)
    run = ResolvedRun(
        config=_pinned(config, teacher, source),
        flow=flow,
        manifest=manifest,
        teacher=teacher,
        source=source,
        notes=tuple(notes),
        flow_by_data=by_data,
    )
    _check_names(run)
    _check_direction(run)
    return with_steps(with_warm_start(with_weights(run)), larger)


def _larger(config: TrainingConfig, store: Store) -> PinnedArtifact | None:
    """Returns the flow that a plain student is smaller than; None for any other run."""
    objective = config.objective
    if isinstance(objective, DistillationConfig):
        return None
    return None if objective.smaller_than is None else pin_artifact(store, objective.smaller_than)


def record_run(config: TrainingConfig, run: ResolvedRun, store: Store) -> None:
    """Keeps what a run is: its config as it was given, and resolved."""
    write_sealed_text(store, dump_config(run), "runs", config.name, "resolved.yaml")
    write_sealed_text(store, dump_config(config), "runs", config.name, "config.yaml")


def _resolved_before(config: TrainingConfig, store: Store) -> ResolvedRun | None:
    """Returns what a run of this config has resolved, with the machines and steps of now."""
    folder = ("runs", config.name)
    if not store.exists(*folder, "config.yaml") or not store.exists(*folder, "resolved.yaml"):
        return None
    values = yaml.safe_load(read_sealed_text(store, *folder, "config.yaml"))
    now = config.model_dump(mode="json")
    here = {key: now[key] for key in MAY_CHANGE}
    if isinstance(values.get("train"), dict):
        here["train"] = {**values["train"], "steps": now["train"]["steps"]}
    if {**values, **here} != now:
        return None
    path = (*folder, "resolved.yaml")
    resolved = yaml.safe_load(read_sealed_text(store, *path))
    run = parse_config(ResolvedRun, resolved, source="/".join(path))
    train = run.config.train.model_copy(update={"steps": config.train.steps})
    return run.model_copy(
        update={
            "config": run.config.model_copy(
                update={"train": train, **{key: getattr(config, key) for key in MAY_CHANGE}}
            )
        }
    )


def _pinned(
    config: TrainingConfig,
    teacher: PinnedArtifact | PinnedForeign | None,
    source: PinnedArtifact | None,
) -> TrainingConfig:
    """Returns a config whose references are those of pinned artifacts."""
    if config.distillation is None or teacher is None:
        return config
    changes = {}
    if isinstance(teacher, PinnedArtifact):
        changes["teacher"] = teacher.reference
    if config.distillation.warm_from is not None and source is not None:
        changes["warm_from"] = source.reference
    objective = config.distillation.model_copy(update=changes)
    return config.model_copy(update={"objective": objective})


def _check_direction(run: ResolvedRun) -> None:
    """Raises ConfigError for a flow whose log_prob takes a pass a column, learnt by it alone."""
    if run.config.distillation is not None or getattr(run.flow, "direction", "") != "sampling":
        return
    raise ConfigError(
        f"run {run.config.name!r}: flow.direction: expected density for a training by nll, which "
        f"needs log_prob at each step; got sampling, whose log_prob takes a pass for each column: "
        f"leave direction out, or learn from a teacher by what the flow samples, with "
        f"objective.kind: distillation"
    )


def _check_names(run: ResolvedRun) -> None:
    """Raises ConfigError where the same values mean another thing to a teacher, or to a source."""
    for other in (run.teacher, run.source):
        found = None if other is None else other.data.contradicts(run.facts)
        if other is not None and found:
            raise ConfigError(
                f"run {run.config.name!r}: expected data of {other.reference}'s {found} of data "
                f"set {run.config.dataset!r}: name a data set with the same names in the same order"
            )
