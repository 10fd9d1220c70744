"""A run with everything that its config refers to looked up, once, before anything else."""

from __future__ import annotations

from typing import Any

import yaml

from flowkd.config import Config, dump_config, parse_config, reason
from flowkd.data.facts import DataFacts
from flowkd.data.groups import groups_of
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.objective import DistillationConfig
from flowkd.distillation.warmstart import WarmStart, check_warm_start
from flowkd.errors import ConfigError, StoreError
from flowkd.flows.build import build_flow, describe_flow, smaller
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.registry.pins import PinnedArtifact, pin_artifact
from flowkd.store.sealed import read_sealed_text, write_sealed_text
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import REMOVING
from flowkd.training.config import MAY_CHANGE, NO_DATA, TrainingConfig
from flowkd.training.default_flow import default_flow

# Rows to set ActNorm from, and to calibrate warm starts on, whose least squares want more.
CALIBRATION_ROWS = 256
WARM_START_ROWS = 2048
# What a student begins with if nothing is said: the first that can be.
AUTO_WARM_STARTS: tuple[WarmStart, ...] = ("fold",)


class FoundRate(Config):
    """A learning rate that was found, and what it was found among.

    Attributes:
        learning_rate: Between the best one tried and its better neighbour.
        tried: Bits per dimension of validation by learning rate; None where it became non-finite.
        steps: Of each trial.
        seconds: That the search took.
        shared: Whether another run on these data, of this flow, had found it.
    """

    learning_rate: float
    tried: dict[str, float | None]
    steps: int
    seconds: float
    shared: bool = False

    def __str__(self) -> str:
        if self.shared:
            return f"learning rate {self.learning_rate:g}, as another run of this flow found"
        return (
            f"learning rate {self.learning_rate:g}: the best of {len(self.tried)} trainings of "
            f"{self.steps} steps on data alone, {self.seconds:.0f} s"
        )


class ResolvedRun(Config):
    """A run whose references are pinned: what comes after asks no store what they mean.

    Attributes:
        config: As it was given, with the teacher and what it begins from by version.
        flow: What is trained, complete.
        manifest: Of the data set; None to learn from the teacher's samples alone.
        teacher: None for maximum likelihood.
        source: The flow that it begins from; None where it begins at random.
        notes: What was chosen where the config leaves it open, in words.
        found_rate: How its learning rate was found; None where it was given.
    """

    config: TrainingConfig
    flow: AnyFlowConfig
    manifest: Manifest | None = None
    teacher: PinnedArtifact | None = None
    source: PinnedArtifact | None = None
    notes: tuple[str, ...] = ()
    found_rate: FoundRate | None = None

    @property
    def bins(self) -> int | None:
        """Number of integer values of the data; None if they are continuous."""
        if self.manifest is not None:
            return self.manifest.bins
        return self.teacher.bins if self.teacher is not None else None

    @property
    def facts(self) -> DataFacts:
        """What is known of the data: of the data set, or else of the teacher's."""
        known = DataFacts.of(self.manifest)
        if self.manifest is None and self.teacher is not None:
            known = self.teacher.data
        return known if self.flow.context_spec.width else known.without_context()

    @property
    def groups(self) -> dict[str, int] | None:
        """Number of groups of rows that belong together, by split; None without a data set."""
        if self.manifest is None:
            return None
        return {name: groups_of(split) for name, split in self.manifest.splits.items()}

    @property
    def calibration_rows(self) -> int:
        """How many rows, at least, set the parameters that depend on data."""
        most = CALIBRATION_ROWS if self.source is None else WARM_START_ROWS
        return max(self.config.batch_size, most)

    def build_objective(self, flow: Flow, teacher: Flow | None) -> MaximumLikelihood | Distillation:
        """Returns what the flow is trained to do.

        Raises:
            ConfigError: Hints, weights or flows that do not go together.
        """
        try:
            return self.config.objective.build(flow, teacher)
        except ValueError as error:
            raise ConfigError(f"run {self.config.name!r}: objective: {reason(error)}") from error


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
    teacher = source = None
    if config.distillation is not None:
        teacher = pin_artifact(store, config.distillation.teacher)
        if config.distillation.source is not None:
            source = pin_artifact(store, config.distillation.source)
    run = complete_run(config, manifest, teacher, source, _larger(config, store))
    run.build_objective(build_flow(run.flow), build_flow(teacher.flow) if teacher else None)
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
    teacher: PinnedArtifact | None = None,
    source: PinnedArtifact | None = None,
    larger: PinnedArtifact | None = None,
) -> ResolvedRun:
    """Completes a config from what it refers to; raises ConfigError where they do not fit."""
    notes: list[str] = []
    config = _with_flow(config, manifest, teacher or larger, notes)
    assert config.flow is not None
    if manifest is not None:
        flow = complete_flow(config.flow, manifest)
    else:
        assert teacher is not None
        flow = complete_like(config.flow, teacher.flow)
    run = ResolvedRun(
        config=_pinned(config, teacher, source),
        flow=flow,
        manifest=manifest,
        teacher=teacher,
        source=source,
        notes=tuple(notes),
    )
    _check_names(run)
    run = _with_warm_start(run)
    _check_warm_start(run)
    return run


def _with_flow(
    config: TrainingConfig,
    manifest: Manifest | None,
    larger: PinnedArtifact | None,
    notes: list[str],
) -> TrainingConfig:
    """Returns a config with a flow, chosen where it names none."""
    if config.flow is not None:
        return config
    if larger is not None:
        flow = _smaller(config.objective.share, larger)
        share = f"{config.objective.share:g} of the parameters of {larger.reference}"
        notes.append(f"flow: {describe_flow(flow)}, at most {share}")
    else:
        assert manifest is not None
        flow = default_flow(manifest)
        notes.append(f"flow: {describe_flow(flow)}, for data set {manifest.name}")
    return config.model_copy(update={"flow": flow})


def _larger(config: TrainingConfig, store: Store) -> PinnedArtifact | None:
    """Returns the flow that sets the size of a plain student; None if none does."""
    objective = config.objective
    if config.flow is not None or isinstance(objective, DistillationConfig):
        return None
    return None if objective.smaller_than is None else pin_artifact(store, objective.smaller_than)


def _smaller(share: float, larger: PinnedArtifact) -> AnyFlowConfig:
    try:
        return smaller(larger.flow, share)
    except ValueError as error:
        raise ConfigError(f"objective.share: {error}") from error


def _with_warm_start(run: ResolvedRun) -> ResolvedRun:
    """Returns a run that begins from its source if it can, where its config leaves that open."""
    distillation = run.config.distillation
    if distillation is None or distillation.warm_start != "auto":
        return run
    assert run.source is not None
    why = None
    for kind in AUTO_WARM_STARTS:
        try:
            check_warm_start(kind, run.flow, run.source.flow, _calibration_rows(run))
        except ValueError as error:
            why = why or str(error)
            continue
        return _begun(run, kind, [f"warm_start: {kind}"])
    return _begun(run, "none", [f"warm_start: none, because {why}"])


def _begun(run: ResolvedRun, kind: str, notes: list[str]) -> ResolvedRun:
    assert run.config.distillation is not None
    changes: dict[str, Any] = {"warm_start": kind}
    if kind == "none":
        changes["warm_from"] = None
    objective = run.config.distillation.model_copy(update=changes)
    update: dict[str, Any] = {
        "config": run.config.model_copy(update={"objective": objective}),
        "notes": (*run.notes, *notes),
    }
    if kind == "none":
        update["source"] = None
    return run.model_copy(update=update)


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
    config: TrainingConfig, teacher: PinnedArtifact | None, source: PinnedArtifact | None
) -> TrainingConfig:
    """Returns a config whose references are those of pinned artifacts."""
    if config.distillation is None or teacher is None:
        return config
    changes = {"teacher": teacher.reference}
    if config.distillation.warm_from is not None and source is not None:
        changes["warm_from"] = source.reference
    objective = config.distillation.model_copy(update=changes)
    return config.model_copy(update={"objective": objective})


def _check_names(run: ResolvedRun) -> None:
    """Raises ConfigError where the same values mean another thing to a teacher, or to a source."""
    for other in (run.teacher, run.source):
        found = None if other is None else other.data.contradicts(run.facts)
        if other is not None and found:
            raise ConfigError(
                f"run {run.config.name!r}: expected data of {other.reference}'s {found} of data "
                f"set {run.config.dataset!r}: name a data set with the same names in the same order"
            )


def _check_warm_start(run: ResolvedRun) -> None:
    """Raises ConfigError for a student that cannot begin from its source."""
    distillation = run.config.distillation
    if distillation is None or distillation.warm_start == "none" or run.source is None:
        return
    assert distillation.warm_start != "auto"
    try:
        check_warm_start(distillation.warm_start, run.flow, run.source.flow, _calibration_rows(run))
    except ValueError as error:
        raise ConfigError(f"run {run.config.name!r}: warm_start: {error}") from error


def _calibration_rows(run: ResolvedRun) -> int:
    """Returns how many different rows a warm start has to calibrate on."""
    if run.manifest is not None:
        known = run.manifest.splits["train"].rows
        return min(known, run.config.train_rows or known)
    assert run.config.distillation is not None
    return run.config.distillation.samples.rows or WARM_START_ROWS


def complete_flow(config: FlowConfig, manifest: Manifest) -> FlowConfig:
    """Fills in what a flow's config leaves open from the data set it is to be trained on.

    Raises:
        ConfigError: The config contradicts the data set.
    """
    mean: Any = manifest.mean if manifest.bins is None else manifest.bins / 2
    scale: Any = manifest.scale if manifest.bins is None else float(manifest.bins)
    found = {
        "event_shape": tuple(manifest.event_shape), "mean": mean, "scale": scale,
        "transforms": manifest.transforms,
    }  # fmt: skip
    values = config.model_dump()
    values |= {key: value for key, value in found.items() if values[key] is None}
    if values["event_shape"] != tuple(manifest.event_shape):
        raise ConfigError(
            f"flow.event_shape: expected {tuple(manifest.event_shape)} of data set "
            f"{manifest.name!r}; got {values['event_shape']}"
        )
    _check_transforms(config, manifest)
    values |= _context_of(config, manifest)
    try:
        return type(config).model_validate(values)
    except ValueError as error:
        raise ConfigError(
            f"flow does not fit data set {manifest.name!r}: {reason(error)}"
        ) from error


def _check_transforms(config: FlowConfig, manifest: Manifest) -> None:
    """Raises ConfigError for transforms of which the data set has no statistics."""
    ours, theirs = list(config.transforms or []), manifest.transforms or []
    known = config.mean is not None and config.scale is not None
    if config.transforms is not None and ours != theirs and not known:
        raise ConfigError(
            f"flow.transforms: expected those of data set {manifest.name!r}, of whose transformed "
            f"columns it has mean and scale; got others: leave them out, import the data set with "
            f"them, or give flow.mean and flow.scale"
        )


def _context_of(config: FlowConfig, manifest: Manifest) -> dict[str, Any]:
    """Returns what a flow takes of its data set's context: all there is, unless it ignores it."""
    if config.context == "ignore":
        return {}
    values: dict[str, Any] = {}
    for key, have in (("classes", manifest.classes), ("context_size", manifest.context_size)):
        given = getattr(config, key)
        if given is not None and given != (have or 0):
            raise ConfigError(
                f"flow.{key}: data set {manifest.name!r} has {have or 'none'}; got {given}: leave "
                f"it out, and the flow takes what the data set has; `context: ignore` trains one "
                f"without"
            )
        values[key] = have if given is None else given
    if values["context_size"]:
        for key in ("context_mean", "context_scale"):
            given = getattr(config, key)
            values[key] = getattr(manifest, key) if given is None else given
    return values


def complete_like(config: FlowConfig, teacher: FlowConfig) -> FlowConfig:
    """Fills in what a flow's config leaves open from its teacher's, where there are no data."""
    shared = {"event_shape", "mean", "scale", "transforms"}
    if config.context != "ignore":
        shared |= {"context", "classes", "context_size", "context_mean", "context_scale"}
    open_ = {key: getattr(teacher, key) for key in shared if getattr(config, key) is None}
    return parse_config(type(config), {**config.model_dump(), **open_}, source="flow")
