"""A run whose references are pinned: what all that trains, resumes or judges it is given."""

from __future__ import annotations

from pydantic import Field

from flowkd.config import Config, reason
from flowkd.data.facts import DataFacts
from flowkd.data.groups import groups_of
from flowkd.data.manifest import Manifest
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.errors import ConfigError
from flowkd.flows.build import describe_flow
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.flow import Flow
from flowkd.flows.precision import FoundPrecision
from flowkd.flows.teacher import Teacher
from flowkd.registry.pins import PinnedArtifact
from flowkd.store.choices import Found
from flowkd.training.config import TrainingConfig
from flowkd.training.foreign_teacher import PinnedForeign

# Rows to set ActNorm from, and to calibrate warm starts on, whose least squares want more.
CALIBRATION_ROWS = 256
WARM_START_ROWS = 2048


class FoundRate(Found):
    """A learning rate that was found, and what it was found among; of few rows, more than that.

    Attributes:
        learning_rate: Between the best one tried and its better neighbour.
        tried: Bits per dimension of validation by learning rate; None where it became non-finite.
        steps: Of each trial.
        seconds: That the search took.
        weight_decay: What was found at this rate; None where it was not looked for.
        flow: What is trained instead of the flow of the trials, where smaller networks did better.
        others: Bits per dimension by what else was tried, in words.
    """

    learning_rate: float
    tried: dict[str, float | None]
    steps: int
    seconds: float
    weight_decay: float | None = None
    flow: AnyFlowConfig | None = None
    others: dict[str, float | None] = Field(default_factory=dict)

    def __str__(self) -> str:
        found = f"learning rate {self.learning_rate:g}"
        if self.weight_decay is not None:
            found += f", weight decay {self.weight_decay:g}"
        if self.flow is not None:
            found += f", flow {describe_flow(self.flow)}"
        if self.shared:
            return f"{found}, as another run of this flow found"
        return (
            f"{found}: the best of {len(self.tried) + len(self.others)} trainings of "
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
        flow_by_data: Whether the data chose the flow, so that validation may choose another.
        start_by_default: Whether its warm start was chosen here, so that one which turns out to be
            worse than a random start is left out.
        found_rate: How its learning rate was found; None where it was given.
        found_precision: How it was found in which precision to compute, and whether compiled;
            None where both were given.
    """

    config: TrainingConfig
    flow: AnyFlowConfig
    manifest: Manifest | None = None
    teacher: PinnedArtifact | PinnedForeign | None = None
    source: PinnedArtifact | None = None
    notes: tuple[str, ...] = ()
    flow_by_data: bool = False
    start_by_default: bool = False
    found_rate: FoundRate | None = None
    found_precision: FoundPrecision | None = None

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
    def train_rows(self) -> int | None:
        """Number of rows that it learns from; None without a data set."""
        if self.manifest is None:
            return None
        known = self.manifest.splits["train"].rows
        return min(known, self.config.train_rows or known)

    @property
    def validate_every(self) -> int:
        """Steps between validations."""
        return self.config.validation_steps(self.train_rows)

    @property
    def calibration_rows(self) -> int:
        """How many rows, at least, set the parameters that depend on data."""
        most = CALIBRATION_ROWS if self.source is None else WARM_START_ROWS
        return max(self.config.batch_size, most)

    def build_objective(
        self, flow: Flow, teacher: Teacher | None
    ) -> MaximumLikelihood | Distillation:
        """Returns what the flow is trained to do.

        Raises:
            ConfigError: Hints, weights or flows that do not go together.
        """
        try:
            return self.config.objective.build(flow, teacher)
        except ValueError as error:
            raise ConfigError(f"run {self.config.name!r}: objective: {reason(error)}") from error
