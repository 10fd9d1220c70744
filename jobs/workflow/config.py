"""One file from data to a served student, and the stages that it stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, model_validator

from cluster.serve.config import ServingConfig
from flowkd.config import Config, parse_config
from flowkd.data.importers.prepare import DatasetConfig, PrepareConfig
from flowkd.distillation.student_size import StudentSize
from flowkd.errors import ConfigError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.names import DatasetName, ModelName, RunName
from flowkd.registry.imported import ImportConfig
from flowkd.registry.publish import PublishConfig
from flowkd.report.config import ReportConfig
from flowkd.tracking.config import TrackingConfig
from flowkd.training.config import TrainingConfig

TEACHER, PLAIN, DISTILLED = "teacher", "plain", "distilled"
PARTS = ("teacher", "student", "evaluate", "publish", "deploy")
# What a workflow sets itself in the config of each stage.
SET_BY_WORKFLOW = ("name", "dataset", "flows", "model", "models", "source", "evaluation")

Options = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)


class WorkflowConfig(Config):
    """A whole way: data, teacher, plain and distilled student, comparison, publication, service.

    Each of its parts takes the keys of the job that it stands for, but for names and references,
    which follow from the workflow's own name. What is left out is the default of that job.

    Attributes:
        name: Of the report, and of the runs: NAME-teacher, NAME-plain and NAME-distilled.
        model: Name of the model; default the workflow's.
        data: What to import, by its kind, or the name of a data set that is prepared already.
        teacher: Keys of a run, for the teacher; or the reference of a flow that is trained already;
            or a flow of another library, `{library: zuko, build: package.module:function, weights:
            FILE}`, which becomes the model NAME-teacher.
        student: Keys of a run, for both students; those of `objective` are the distilled one's.
        plain: Whether the same student is trained on data alone, too, to compare.
        evaluate: Keys of an evaluation.
        publish: Keys of a publication; the better student on validation is published.
        deploy: Keys of a service, which begins by default; the word `none` ends before it.
        tracking: Where metrics and figures are sent besides the store, of all that says nothing of
            it itself.
        report: Where the page goes; default `NAME.html`. The store keeps it too.
        results: Where the figures go as JSON; default nowhere but into the store.
    """

    name: Annotated[RunName, Field(max_length=80)]
    model: ModelName | None = None
    data: DatasetConfig | DatasetName
    teacher: Options | str = Field(default_factory=dict)
    student: Options = Field(default_factory=dict)
    plain: bool = True
    evaluate: Options = Field(default_factory=dict)
    publish: Options = Field(default_factory=dict)
    deploy: Options | Literal["none"] = Field(default_factory=dict)
    tracking: TrackingConfig = TrackingConfig()
    report: Path | None = None
    results: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty_parts(cls, values: Any) -> Any:
        """A part of whose keys all are comments is one of which nothing is said."""
        if not isinstance(values, dict):
            return values
        return {key: each for key, each in values.items() if each is not None or key not in PARTS}

    @model_validator(mode="after")
    def _leaves_names_alone(self) -> WorkflowConfig:
        for part in PARTS:
            options = getattr(self, part)
            taken = [key for key in SET_BY_WORKFLOW if isinstance(options, dict) and key in options]
            if taken:
                raise ValueError(
                    f"{part}.{taken[0]}: follows from the workflow's name and data; leave it out"
                )
        return self

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.data if isinstance(self.data, str) else self.data.name

    @property
    def served(self) -> str:
        """Name of the model."""
        return self.model or self.name

    @property
    def flows(self) -> dict[str, str]:
        """Reference of each flow by its role, the teacher first."""
        teacher = str(self.teacher)
        if isinstance(self.teacher, dict):
            made = f"{self.name}-{TEACHER}"
            teacher = f"models/{made}@best" if self.takes_over else f"runs/{made}"
        roles = (PLAIN, DISTILLED) if self.plain else (DISTILLED,)
        return {TEACHER: teacher} | {role: f"runs/{self.name}-{role}" for role in roles}

    @property
    def takes_over(self) -> bool:
        """Whether the teacher is a flow of another library."""
        return isinstance(self.teacher, dict) and "library" in self.teacher

    @property
    def students(self) -> tuple[str, ...]:
        """References of the students, of which the better one is published."""
        return tuple(reference for role, reference in self.flows.items() if role != TEACHER)


def stages(workflow: WorkflowConfig) -> dict[str, tuple[str, BaseModel]]:
    """Returns the kind and the config of each job of a workflow, in their order, by stage.

    Raises:
        ConfigError: A part with a key that its job has not, or a value that it does not take.
    """
    found: dict[str, tuple[str, BaseModel]] = {}
    if not isinstance(workflow.data, str):
        found["data"] = ("prepare", PrepareConfig(workflow.data))
    if workflow.takes_over:
        taken = {
            "model": f"{workflow.name}-{TEACHER}", "source": workflow.teacher,
            "dataset": workflow.dataset, "force": workflow.publish.get("force", False),
        }  # fmt: skip
        found[TEACHER] = ("import_model", _part(workflow, TEACHER, ImportConfig, taken))
    elif isinstance(workflow.teacher, dict):
        run = _run(workflow, TEACHER, workflow.teacher, TEACHER)
        found[TEACHER] = ("train_teacher", run)
    student = {key: value for key, value in workflow.student.items() if key != "objective"}
    objective = workflow.student.get("objective", {})
    if workflow.plain:
        plain: Options = {"kind": "maximum_likelihood", "smaller_than": workflow.flows[TEACHER]}
        plain |= {key: objective[key] for key in StudentSize.model_fields if key in objective}
        found[PLAIN] = (
            "train_teacher",
            _run(workflow, PLAIN, {**student, "objective": plain}, "student"),
        )
    distilled = {"kind": "distillation", "teacher": workflow.flows[TEACHER], **objective}
    found[DISTILLED] = (
        "distill",
        _run(workflow, DISTILLED, {**student, "objective": distilled}, "student"),
    )
    told = {"tracking": workflow.tracking.model_dump()}
    evaluation = {"name": workflow.name, "flows": workflow.flows, "dataset": workflow.dataset}
    found["evaluate"] = (
        "evaluate",
        _part(workflow, "evaluate", EvaluationConfig, {**told, **workflow.evaluate, **evaluation}),
    )
    publication = {
        "model": workflow.served, "source": workflow.students, "evaluation": workflow.name,
    }  # fmt: skip
    found["publish"] = (
        "publish",
        _part(workflow, "publish", PublishConfig, {**workflow.publish, **publication}),
    )
    alias = workflow.publish.get("alias", "best")
    if workflow.deploy != "none":
        models = {"models": {workflow.served: f"models/{workflow.served}@{alias}"}}
        found["deploy"] = (
            "deploy",
            _part(workflow, "deploy", ServingConfig, {**workflow.deploy, **models}),
        )
    page = ReportConfig(
        name=workflow.name, title=f"flowkd {workflow.name}", model=workflow.served, alias=alias
    )
    found["report"] = ("report", page)
    return found


def _run(workflow: WorkflowConfig, role: str, options: Options, part: str) -> TrainingConfig:
    names = {"name": f"{workflow.name}-{role}", "dataset": workflow.dataset}
    told = {"tracking": workflow.tracking.model_dump()}
    config = _part(workflow, part, TrainingConfig, {**told, **options, **names})
    if role != DISTILLED and config.objective.kind != "maximum_likelihood":
        raise ConfigError(
            f"workflow {workflow.name!r}: {part}.objective: expected none, for the {role} learns "
            f"from data; got {config.objective.kind}"
        )
    return config


def _part(workflow: WorkflowConfig, part: str, model: type[Model], values: Options) -> Model:
    return parse_config(model, values, source=f"workflow {workflow.name!r}: {part}")
