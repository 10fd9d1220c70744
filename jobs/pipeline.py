"""A pipeline: jobs that follow each other, submitted as one."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from cluster.queue.spec import JobSpec
from flowkd.config import Config, load_config
from flowkd.names import PipelineName, StageName
from jobs.kinds import find_kind, read_config
from jobs.submission import Options, make_spec


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
        before = tuple(f"{pipeline.name}.{each}" for each in pipeline.before(name))
        specs.append(
            make_spec(
                stage.kind,
                config,
                options.model_copy(
                    update={
                        "id": f"{pipeline.name}.{name}",
                        "depends_on": before or options.depends_on,
                    }
                ),
                pipeline.name,
            )
        )
    return specs
