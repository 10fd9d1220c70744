"""The kinds of jobs that the queue takes: what runs each, what its config is, what it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cluster.queue.spec import Resources
from cluster.serve.config import ServingConfig
from flowkd.config import apply_overrides, parse_config, read_values
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.errors import ConfigError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.registry.imported import ImportConfig
from flowkd.registry.publish import PublishConfig
from flowkd.report.config import ReportConfig
from flowkd.training.config import TrainingConfig
from tuning.config import SearchConfig

# What runs in a job's own driver takes no CPU that Ray counts: drivers stay on the head.
IN_DRIVER = Resources(workers=1, cpus=0)
TRIALS_AT_ONCE = 4  # of a search in the queue that does not say how many


@dataclass(frozen=True)
class Kind:
    """A kind of job.

    Attributes:
        module: What `python -m` runs.
        config: What its config file must be.
        objective: The kind of objective that a training must have.
        again: What its command needs beside, so that another attempt goes on from the last one.
    """

    module: str
    config: type[BaseModel]
    objective: str | None = None
    again: tuple[str, ...] = ()


KINDS = {
    "prepare": Kind("jobs.prepare", PrepareConfig),
    "train_teacher": Kind("jobs.train_teacher", TrainingConfig, "maximum_likelihood"),
    "import_model": Kind("jobs.import_model", ImportConfig),
    "distill": Kind("jobs.distill", TrainingConfig, "distillation"),
    "search": Kind("jobs.search", SearchConfig, again=("--resume",)),
    "evaluate": Kind("jobs.evaluate", EvaluationConfig),
    "publish": Kind("jobs.publish", PublishConfig),
    "deploy": Kind("jobs.deploy", ServingConfig),
    "report": Kind("jobs.report", ReportConfig),
}


def find_kind(name: str) -> Kind:
    """Returns a kind by its name; raises ConfigError, with those that there are, for another."""
    if name not in KINDS:
        raise ConfigError(f"no kind of job {name!r}; expected one of {', '.join(KINDS)}")
    return KINDS[name]


def command_of(kind: str) -> tuple[str, ...]:
    """Returns what runs a kind of job."""
    known = find_kind(kind)
    return "python", "-m", known.module, "--config", "{config}", "--store", "{store}", *known.again


def read_config(kind: str, path: Path, overrides: Sequence[str] = ()) -> BaseModel:
    """Reads a job's config file as the job itself would, so that a mistake is found at once.

    Raises:
        ConfigError: No such kind or file, or it does not validate.
    """
    values = read_values(path)
    apply_overrides(values, overrides)
    return check_config(kind, values, str(path))


def check_config(kind: str, values: dict[str, Any], source: str) -> BaseModel:
    """Returns values as the config of a kind of job; raises ConfigError where they are not."""
    known = find_kind(kind)
    config = parse_config(known.config, values, source=source)
    if isinstance(config, TrainingConfig) and config.objective.kind != known.objective:
        raise ConfigError(
            f"{source}: objective.kind: expected {known.objective} for a job of kind {kind}; got "
            f"{config.objective.kind}"
        )
    return config


def bounded(config: BaseModel) -> BaseModel:
    """Returns a config by which a job takes no more than what it is admitted with.

    A search that names no number of trials at once would take whatever is free when it starts.
    """
    if isinstance(config, SearchConfig) and config.max_concurrent_trials is None:
        at_once = min(config.trials, TRIALS_AT_ONCE)
        return config.model_copy(update={"max_concurrent_trials": at_once})
    return config


def resources_of(config: BaseModel) -> Resources:
    """Returns what a job of this config takes of the cluster."""
    if isinstance(config, TrainingConfig):
        scaling, gpus = config.scaling, 1 if config.scaling.gpu else 0
        return Resources(workers=scaling.least, cpus=scaling.cpus, gpus=gpus)
    if isinstance(config, SearchConfig):
        scaling, at_once = config.scaling, config.max_concurrent_trials or 1
        gpus = 1 if scaling.gpu else 0
        return Resources(workers=scaling.workers * at_once, cpus=scaling.cpus, gpus=gpus)
    if isinstance(config, ServingConfig):
        return Resources(workers=config.num_replicas, cpus=config.num_cpus)
    if isinstance(config, EvaluationConfig):
        return Resources(workers=1, cpus=config.threads)
    return IN_DRIVER


def name_of(config: BaseModel, kind: str) -> str:
    """Returns what a job of this config may be called: by what it makes."""
    for key in ("name", "model"):
        found = getattr(getattr(config, "root", config), key, None)
        if isinstance(found, str):
            return found
    return kind
