"""A pipeline: jobs that follow each other, submitted as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, Field, model_validator

from cluster.queue.spec import JobSpec
from flowkd.config import Config, load_config
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.names import PipelineName, StageName
from flowkd.registry.imported import ImportConfig
from jobs.checks import makes, needs
from jobs.kinds import find_kind, read_config
from jobs.submission import Options, make_spec
from jobs.workflow.config import WorkflowConfig, stages


class Stage(Config):
    """One job of a pipeline.

    Attributes:
        kind: Kind of the job, such as `distill`.
        config: Its config file, beside the pipeline's own, or an absolute path.
        set: `key.path=value`, over the file's.
        after: Stages that must succeed before; by default the one before it in the file.
    """

    kind: str
    config: str
    set: tuple[str, ...] = ()
    after: tuple[StageName, ...] | None = None


class PipelineConfig(Config):
    """Jobs that follow each other, such as teacher, search, distill, publish, deploy.

    Attributes:
        name: Of the pipeline; its jobs are called NAME.STAGE.
        stages: By name, in the order in which they are run.
    """

    name: PipelineName
    stages: dict[StageName, Stage] = Field(min_length=1)

    @model_validator(mode="after")
    def _in_order(self) -> PipelineConfig:
        before: list[str] = []
        for name, stage in self.stages.items():
            find_kind(stage.kind)
            unknown = [each for each in stage.after or () if each not in before]
            if unknown:
                raise ValueError(
                    f"stage {name!r} is after {', '.join(unknown)}; expected some of those before "
                    f"it: {', '.join(before) or 'none'}"
                )
            before.append(name)
        return self

    def before(self, name: str) -> tuple[str, ...]:
        """Returns the stages that must succeed before one."""
        stage = self.stages[name]
        if stage.after is not None:
            return stage.after
        names = list(self.stages)
        place = names.index(name)
        return (names[place - 1],) if place else ()


def pipeline_specs(path: Path, options: Options) -> list[JobSpec]:
    """Returns the jobs of a pipeline's file.

    Args:
        path: The file.
        options: For all its jobs; its own dependencies are those of the first ones.

    Raises:
        ConfigError: The file, or one that it names, does not validate.
    """
    pipeline = load_config(PipelineConfig, path)
    specs = []
    for name, stage in pipeline.stages.items():
        config = read_config(stage.kind, path.parent / stage.config, stage.set)
        before = pipeline.before(name)
        specs.append(_spec(pipeline.name, name, stage.kind, config, before, options))
    return specs


def workflow_specs(path: Path, overrides: Sequence[str], options: Options) -> list[JobSpec]:
    """Returns the jobs of a workflow's file: each is after those that make what it reads.

    Args:
        path: The file.
        overrides: `key.path=value`, over the file's.
        options: For all its jobs; its own dependencies are those of the first ones.

    Raises:
        ConfigError: The file, or one of its parts, does not validate.
    """
    workflow = load_config(WorkflowConfig, path, overrides)
    made: dict[str, str] = {}
    specs = []
    for name, (kind, config) in stages(workflow).items():
        before = tuple(dict.fromkeys(made[each] for each in sorted(needs(config)) if each in made))
        specs.append(_spec(workflow.name, name, kind, _from_anywhere(config), before, options))
        made |= dict.fromkeys(makes(config), name)
    return specs


def _spec(
    pipeline: str,
    stage: str,
    kind: str,
    config: BaseModel,
    before: Sequence[str],
    options: Options,
) -> JobSpec:
    """Returns the job of a stage, which is after others of its pipeline."""
    after = tuple(f"{pipeline}.{each}" for each in before) or options.depends_on
    own = options.model_copy(update={"id": f"{pipeline}.{stage}", "depends_on": after})
    return make_spec(kind, config, own, pipeline)


def _from_anywhere(config: BaseModel) -> BaseModel:
    """Returns an import whose file has its whole path, for a job begins in another folder."""
    if isinstance(config, ImportConfig):
        foreign = config.source
        whole = foreign.model_copy(update={"weights": os.path.abspath(foreign.weights)})
        return config.model_copy(update={"source": whole})
    source = getattr(config.root, "source", None) if isinstance(config, PrepareConfig) else None
    if not isinstance(config, PrepareConfig) or not source or not os.path.exists(source):
        return config
    return PrepareConfig(config.root.model_copy(update={"source": os.path.abspath(source)}))
