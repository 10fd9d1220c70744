"""Configuration of a capacity study: students of many shapes, each plain and distilled."""

from __future__ import annotations

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.flows.configs import AnyFlowConfig
from flowkd.names import ShortName
from jobs.studies.config import (
    PLAIN,
    ArmConfig,
    ArmObjective,
    Seeds,
    StudyBase,
    StudyConfig,
)

REFERENCE, DISTILLED = "reference", "distilled"


class ShapeConfig(Config):
    """A student of another shape.

    Attributes:
        flow: All of its flow, so that any field may differ.
        objective: By which it is distilled; default the study's.
    """

    flow: AnyFlowConfig
    objective: ArmObjective | None = None


class CapacityConfig(StudyBase):
    """A study of students of many shapes, each trained on data alone and distilled.

    The learning rate is chosen with `student`, the reference; all others are trained as it is.

    Attributes:
        students: The students of other shapes, by name.
        objective: Objective of the distilled students.
        about: The objective in a few words, for the document.
    """

    teacher_seeds: Seeds = (0,)
    student_seeds: Seeds = (0,)
    students: dict[ShortName, ShapeConfig] = Field(min_length=1)
    objective: ArmObjective
    about: str

    @model_validator(mode="after")
    def _is_a_study(self) -> CapacityConfig:
        if REFERENCE in self.students:
            raise ValueError(
                f"students: expected another name than {REFERENCE!r}, which is `student` itself"
            )
        self.study()
        return self

    @property
    def shapes(self) -> dict[str, ShapeConfig]:
        """All students' shapes by name, the reference first."""
        return {REFERENCE: ShapeConfig(flow=self.student.flow), **self.students}

    def study(self) -> StudyConfig:
        """Returns the study that trains and measures all of this."""
        arms = {
            PLAIN: ArmConfig(about="reference, data alone"),
            DISTILLED: ArmConfig(about=f"reference, {self.about}", objective=self.objective),
        }
        for name, shape in self.students.items():
            plain = arm_of(name, distilled=False)
            arms[plain] = ArmConfig(
                about=f"{name}, data alone", flow=shape.flow, compared_with=plain
            )
            arms[arm_of(name, distilled=True)] = ArmConfig(
                about=f"{name}, {self.about}",
                objective=shape.objective or self.objective,
                flow=shape.flow,
                compared_with=plain,
            )
        shared = {key: getattr(self, key) for key in StudyBase.model_fields}
        return StudyConfig(**shared, arms=arms, best=DISTILLED)


def arm_of(shape: str, *, distilled: bool) -> str:
    """Returns the name of the arm that trains a shape's student.

    >>> arm_of("w16", distilled=True), arm_of("reference", distilled=False)
    ('w16-distilled', 'plain')
    """
    arm = DISTILLED if distilled else PLAIN
    return arm if shape == REFERENCE else f"{shape}-{arm}"
