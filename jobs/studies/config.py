"""Configuration of a study: a teacher, a student, and arms, the ways to train the student."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from flowkd.config import Config
from flowkd.data.importers.prepare import DatasetConfig
from flowkd.distillation.objective import DistillationConfig
from flowkd.flows.configs import AnyFlowConfig
from flowkd.names import ShortName
from flowkd.training.train_config import TrainConfig

TEACHER, PLAIN = "teacher", "plain"
OWN_TEACHER = "runs/the-teacher-of-each-run"  # stands in an arm's objective for what a run fills in

# Short, so that a run's name, which holds both, stays below 100 characters.
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


def _with_own_teacher(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    own = {"kind": "distillation", "teacher": OWN_TEACHER}
    if any(value.get(key, own[key]) != own[key] for key in own):
        raise ValueError("expected neither kind nor teacher: the study sets them for each run")
    # Arms differ from the plain student in one thing: what they do not name, they do not use.
    return {"warm_start": "none", "weights": {}, **value, **own}


ArmObjective = Annotated[DistillationConfig, BeforeValidator(_with_own_teacher)]


class Recipe(Config):
    """A flow and how it is trained.

    Attributes:
        flow: The flow; what the data set knows may be left out.
        train: How it is trained; a student's learning_rate is the one that the study chooses.
        batch_size: Rows of a step; default 128.
        validate_every: Steps between validations, of which the best one's weights are kept;
            default 200.
    """

    flow: AnyFlowConfig
    train: TrainConfig
    batch_size: int = Field(128, ge=1)
    validate_every: int = Field(200, ge=1)


class ArmConfig(Config):
    """A way to train the student.

    Attributes:
        about: The arm in a few words, for the document.
        objective: A distillation's, without kind and teacher; default none: the student is trained
            on data alone.
        intermediate: Shape of a flow that is distilled first, with half of the steps; the student
            then begins from it. Default none.
        steps_factor: Its steps over the student's; default 1.
        cpu_matched_to: Name of a distilled arm; this one, without teacher, is trained for as many
            steps as take the same CPU seconds.
        seed_pairs: (teacher seed, student seed) of each run; default every combination.
        flow: Flow of its student; default the study's.
        compared_with: Name of the arm without teacher that its gain is measured against; default
            `plain`.
    """

    about: str = Field(min_length=1)
    objective: ArmObjective | None = None
    intermediate: AnyFlowConfig | None = None
    steps_factor: float = Field(1.0, gt=0)
    cpu_matched_to: str | None = None
    seed_pairs: tuple[tuple[int, int], ...] | None = Field(None, min_length=1)
    flow: AnyFlowConfig | None = None
    compared_with: str = PLAIN

    @model_validator(mode="after")
    def _agrees(self) -> ArmConfig:
        if self.objective is None and (self.intermediate or self.seed_pairs):
            raise ValueError(
                "intermediate and seed_pairs: expected an objective beside them; got none"
            )
        if self.objective is not None and self.cpu_matched_to:
            raise ValueError(
                "cpu_matched_to: expected no objective beside it: it is a plain student"
            )
        if self.cpu_matched_to and self.steps_factor != 1:
            raise ValueError("expected cpu_matched_to or steps_factor; got both")
        if self.intermediate and self.objective and self.objective.warm_start == "none":
            raise ValueError(
                "intermediate: expected objective.warm_start other than none: the student "
                "begins from the intermediate flow"
            )
        return self


class Targets(Config):
    """What the best arm is to reach.

    Attributes:
        gap_closed: The least share of the gap between plain student and teacher; default 0.75.
        parameters_share: The most parameters over the teacher's; default 0.25.
        throughput_ratio: The least log_prob and samples a second over the teacher's; default 3.2.
    """

    gap_closed: float = Field(0.75, gt=0)
    parameters_share: float = Field(0.25, gt=0)
    throughput_ratio: float = Field(3.2, gt=0)


class StudyBase(Config):
    """What studies of arms and of shapes have in common.

    Attributes:
        name: Name of the study, of its folder `studies/NAME` and of its runs,
            `study-NAME-ARM-tTEACHER_SEED-sSTUDENT_SEED`.
        title: Heading in the document.
        dataset: The data set; it is prepared if it is not there.
        train_rows: The first rows of the training split that are used; default all.
        validation_rows: The first rows of the validation split, on which weights and learning rate
            are chosen; default 2000.
        teacher: The large flow.
        student: The small flow.
        learning_rates: The one that is best on validation for the plain student is every arm's.
        teacher_seeds: A teacher is trained for each.
        student_seeds: Each arm is trained for each; the learning rate is chosen with the first.
        teachers_of: Name of another study whose teachers, of the same recipe, are used.
        throughput_seconds: About how long to measure log_prob and sampling, each, of a student;
            default 5.
        folds: Number of folds of a cross-validation over groups of rows, at least 3, for data sets
            of few: everything is done on each, runs are called after `NAME-fFOLD`, and figures are
            pooled over all folds' rows; default none, the data set's own split.
    """

    name: ShortName
    title: str
    dataset: DatasetConfig
    train_rows: int | None = Field(None, ge=1)
    validation_rows: int = Field(2000, ge=1)
    teacher: Recipe
    student: Recipe
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1)
    teacher_seeds: Seeds
    student_seeds: Seeds
    teachers_of: ShortName | None = None
    throughput_seconds: float = Field(5.0, gt=0)
    folds: int | None = Field(None, ge=3)

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        for key in ("learning_rates", "teacher_seeds", "student_seeds"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key}: expected each once; got {list(values)}")
        return self


class StudyConfig(StudyBase):
    """A study of one data set: arms that train the same student in different ways.

    Attributes:
        arms: The arms by name; `plain`, the student trained on data alone, is one of them.
        best: Name of the arm that the document headlines.
        targets: What that arm is to reach.
    """

    arms: dict[ShortName, ArmConfig]
    best: str
    targets: Targets = Targets()

    @model_validator(mode="after")
    def _hangs_together(self) -> StudyConfig:
        self._check_plain()
        if self.best not in self.arms or self.arms[self.best].objective is None:
            raise ValueError(
                f"best: expected an arm with an objective, one of {self._distilled()}; "
                f"got {self.best!r}"
            )
        for name, arm in self.arms.items():
            self._check_arm(name, arm)
        return self

    def _check_plain(self) -> None:
        plain = self.arms.get(PLAIN)
        if plain is None or plain != ArmConfig(about=plain.about):
            raise ValueError(
                "arms: expected an arm 'plain' with nothing but `about`: the student trained on "
                "data alone, which the others are compared with"
            )
        if TEACHER in self.arms:
            raise ValueError("arms: expected no arm 'teacher': the teacher has a row of its own")

    def _check_arm(self, name: str, arm: ArmConfig) -> None:
        if arm.cpu_matched_to is not None and arm.cpu_matched_to not in self._distilled():
            raise ValueError(
                f"arms.{name}.cpu_matched_to: expected an arm with an objective, one of "
                f"{self._distilled()}; got {arm.cpu_matched_to!r}"
            )
        if arm.compared_with not in self.arms or arm.compared_with in self._distilled():
            raise ValueError(
                f"arms.{name}.compared_with: expected an arm without objective; got "
                f"{arm.compared_with!r}"
            )
        for teacher, student in arm.seed_pairs or ():
            if teacher not in self.teacher_seeds or student not in self.student_seeds:
                raise ValueError(
                    f"arms.{name}.seed_pairs: expected pairs of teacher_seeds "
                    f"{list(self.teacher_seeds)} and student_seeds {list(self.student_seeds)}; "
                    f"got {[teacher, student]}"
                )
        if arm.seed_pairs and len(set(arm.seed_pairs)) < len(arm.seed_pairs):
            raise ValueError(f"arms.{name}.seed_pairs: expected each pair once")

    def _distilled(self) -> list[str]:
        return [name for name, arm in self.arms.items() if arm.objective is not None]
