"""What each kind of job can be checked for before it begins, by its config."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from pydantic import BaseModel

from cluster.serve.config import ServingConfig
from cluster.storage import StorageConfig, check, check_place
from cluster.train.preflight import check_machine, check_shared, check_training, check_warmup
from flowkd.data.importers.prepare import PrepareConfig, kept_manifest
from flowkd.data.manifest import read_manifest
from flowkd.errors import ConfigError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.foreign.source import load_module
from flowkd.registry.artifact_manifest import resolve
from flowkd.registry.imported import ImportConfig
from flowkd.registry.pins import pin_artifact
from flowkd.registry.publish import PublishConfig
from flowkd.report.config import ReportConfig
from flowkd.training.config import NO_DATA, TrainingConfig
from tuning.config import SearchConfig
from tuning.records import SearchRecords

Check = Callable[[Any, StorageConfig], None]


def check_job(
    config: BaseModel,
    storage: StorageConfig,
    *,
    here: bool = True,
    coming: Collection[str] = (),
    replace: bool = False,
) -> None:
    """Checks a job as far as it can be without starting anything; nothing is written but a probe.

    Args:
        config: Of a kind of job.
        storage: What the job reads and writes.
        here: Whether it is to run on a Ray of this machine, unless RAY_ADDRESS names another.
        coming: What other jobs make before, as `makes` returns it; what a job needs of it is not
            looked for.
        replace: Whether an import may replace another data set of its name.

    Raises:
        FlowkdError: What the job itself would raise, minutes later.
    """
    check_place(storage.store())
    check(storage.store())
    if isinstance(config, TrainingConfig | SearchConfig):
        check_shared(storage)
        check_warmup(config.train)
        _check_place(config, here)
        if isinstance(config, TrainingConfig):
            _check_teacher(config, here)
        if here:
            check_machine(config.scaling)
    if isinstance(config, ImportConfig) and here:
        load_module(config.source)
    if isinstance(config, PrepareConfig):
        kept_manifest(config.root, storage.store(), replace=replace)
    if needs(config).isdisjoint(coming):
        for kind, checked in CHECKS.items():
            if isinstance(config, kind):
                checked(config, storage)


def needs(config: BaseModel) -> set[str]:
    """Returns what a job reads, `datasets/NAME`, `runs/NAME`, `models/NAME`, `evaluations/NAME`."""
    found: list[str | None] = []
    if isinstance(config, TrainingConfig):
        found = [] if config.dataset == NO_DATA else [f"datasets/{config.dataset}"]
        if config.distillation is not None:
            teacher = config.distillation.teacher
            found += [teacher if isinstance(teacher, str) else None, config.distillation.source]
        elif config.objective.kind == "maximum_likelihood":
            found += [config.objective.smaller_than]
    elif isinstance(config, SearchConfig):
        found = [f"datasets/{config.dataset}", config.teacher]
    elif isinstance(config, ImportConfig):
        found = [config.dataset and f"datasets/{config.dataset}"]
    elif isinstance(config, EvaluationConfig):
        found = [f"datasets/{config.dataset}", *config.flows.values()]
    elif isinstance(config, PublishConfig):
        found = [*config.sources, config.evaluation and f"evaluations/{config.evaluation}"]
    elif isinstance(config, ServingConfig):
        found = [*config.models.values()]
    elif isinstance(config, ReportConfig):
        found = [f"evaluations/{config.name}", config.model and f"models/{config.model}"]
    return {each.partition("@")[0] for each in found if each}


def makes(config: BaseModel) -> set[str]:
    """Returns what a job writes, in the words of `needs`."""
    if isinstance(config, PrepareConfig):
        return {f"datasets/{config.root.name}"}
    if isinstance(config, TrainingConfig):
        return {f"runs/{config.name}"}
    if isinstance(config, EvaluationConfig):
        return {f"evaluations/{config.name}"}
    if isinstance(config, PublishConfig | ImportConfig):
        return {f"models/{config.model}"}
    if isinstance(config, SearchConfig) and config.final is not None:
        return {f"models/{config.final.model}"}
    return set()


def _check_place(config: TrainingConfig | SearchConfig, here: bool) -> None:
    """Raises ConfigError where `run_on: local` is asked of what only Ray can do."""
    if config.scaling.run_on == "local" and not (here and isinstance(config, TrainingConfig)):
        what = "a search" if isinstance(config, SearchConfig) else "a job of the queue"
        raise ConfigError(
            f"scaling.run_on: expected auto or cluster for {what}, which is run on Ray; got local"
        )


def _check_teacher(config: TrainingConfig, here: bool) -> None:
    """Raises ConfigError for a queued job that names code to import."""
    if here or config.distillation is None or isinstance(config.distillation.teacher, str):
        return
    raise ConfigError(
        f"objective.teacher: expected a reference for a job of the queue, whose record never says "
        f"which code is run; got {config.distillation.teacher}: train it here, or make the teacher "
        f"a model by `flowkd models import`"
    )


def _check_search(config: SearchConfig, storage: StorageConfig) -> None:
    from tuning.candidates import CandidateSpace  # needs Optuna, as no other job does

    store = storage.store()
    records = SearchRecords(store, config.name)
    CandidateSpace(records.pin(config), store, records.read("throughputs.json"))


def _check_evaluation(config: EvaluationConfig, storage: StorageConfig) -> None:
    store = storage.store()
    manifest = read_manifest(store, config.dataset)
    if config.split not in manifest.splits:
        raise ConfigError(
            f"split: expected one of {', '.join(manifest.splits)}; got {config.split!r}"
        )
    for label, reference in config.flows.items():
        shape = pin_artifact(store, reference).flow.event_shape
        if shape != tuple(manifest.event_shape):
            raise ConfigError(
                f"flows.{label}: expected event_shape {tuple(manifest.event_shape)} of data set "
                f"{manifest.name!r}; got {shape}"
            )


def _check_publication(config: PublishConfig, storage: StorageConfig) -> None:
    store = storage.store()
    for source in config.sources:
        resolve(store, source)
    if config.evaluation and not store.exists("evaluations", f"{config.evaluation}.json"):
        kept = store.list("evaluations")
        known = [name.removesuffix(".json") for name in kept if name.endswith(".json")]
        raise ConfigError(
            f"evaluation: there is no {config.evaluation!r} in {store}; there are "
            f"{', '.join(known) or 'none'}"
        )


def _check_serving(config: ServingConfig, storage: StorageConfig) -> None:
    check_shared(storage)
    for reference in config.models.values():
        resolve(storage.store(), reference)


def _check_report(config: ReportConfig, storage: StorageConfig) -> None:
    from flowkd.report.from_store import read_comparison  # takes a second to import

    read_comparison(storage.store(), config.name)


CHECKS: dict[type[BaseModel], Check] = {
    TrainingConfig: check_training,
    SearchConfig: _check_search,
    EvaluationConfig: _check_evaluation,
    PublishConfig: _check_publication,
    ServingConfig: _check_serving,
    ReportConfig: _check_report,
}
