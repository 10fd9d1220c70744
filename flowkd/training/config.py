"""A run as it is written in YAML: one flow, one objective, one data set, and its machines."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.distillation.objective import (
    DistillationConfig,
    MaximumLikelihoodConfig,
    ObjectiveConfig,
)
from flowkd.distillation.schedules import OF_NOISE
from flowkd.flows.configs import AnyFlowConfig
from flowkd.names import RunName
from flowkd.tracking.config import TrackingConfig
from flowkd.training.train_config import TrainConfig

NO_DATA = "none"
# Between validations, where nothing is said.
LEAST_VALIDATION_STEPS, MOST_VALIDATION_STEPS, VALIDATION_EPOCHS = 20, 200, 10
# What of a run's config may change between its attempts: what it is made on, and who is told.
MAY_CHANGE = ("scaling", "tracking")


class ScalingConfig(Config):
    """What a training runs on.

    Attributes:
        workers: Number of data-parallel workers; the global batch is split between them.
        min_workers: As many are enough to begin or go on, if the cluster has no more; the global
            batch stays the same. By default exactly `workers`.
        run_on: `local`, in the process that is called, without Ray; `cluster`, on Ray; `auto`: in
            the process where there is no cluster yet, and a run of one worker without a GPU would
            end before Ray had started. The result is the same.
        gpu: Whether each has a GPU.
        cpus: CPU cores, and threads, of each worker.
        resident_gib: The most rows that each worker keeps in memory, in GiB; if its share of the
            data set is more, it streams them. The batches are the same.
        max_failures: How often a run whose worker died goes on from its last checkpoint.
        max_waits: How often, over the run, a minute may pass without a place for the workers.
    """

    workers: int = Field(1, ge=1)
    min_workers: int | None = Field(None, ge=1)
    run_on: Literal["auto", "local", "cluster"] = "auto"
    gpu: bool = False
    cpus: int = Field(1, ge=1)
    resident_gib: float = Field(4.0, gt=0)
    max_failures: int = Field(2, ge=0)
    max_waits: int = Field(10, ge=0)

    @model_validator(mode="after")
    def _is_a_range(self) -> ScalingConfig:
        if self.least > self.workers:
            raise ValueError(
                f"expected min_workers of at most workers = {self.workers}; got {self.least}"
            )
        return self

    @model_validator(mode="after")
    def _is_one_process(self) -> ScalingConfig:
        if self.run_on == "local" and self.workers > 1:
            raise ValueError(
                f"expected workers: 1 for run_on: local, which is one process; got {self.workers}: "
                f"set scaling.workers=1, the batches stay the same"
            )
        return self

    @property
    def least(self) -> int:
        """The number of workers that a run does with."""
        return self.workers if self.min_workers is None else self.min_workers

    def check_divides(self, field: str, rows: int) -> None:
        """Raises ValueError unless every number of workers that there may be divides a batch."""
        counts = range(self.least, self.workers + 1)
        bad = [count for count in counts if rows % count]
        if not bad:
            return
        if len(counts) == 1:
            raise ValueError(
                f"expected {field} divisible by scaling.workers = {self.workers}; got {rows}"
            )
        raise ValueError(
            f"expected {field} divisible by each number of workers from scaling.min_workers = "
            f"{self.least} to scaling.workers = {self.workers}; got {rows}, which {bad[0]} does "
            f"not divide: take a multiple of {math.lcm(*counts)}, or a narrower range"
        )


class TrainingConfig(Config):
    """A run: one flow, one objective, one data set.

    Attributes:
        name: The run's name in the store.
        dataset: Name of a prepared data set; `none` to learn from a teacher's samples alone.
        flow: What to train; what it leaves open comes from the data set. Default: a student has
            its teacher's family, or spline couplings where samples of that take more than one pass,
            and a share of its parameters, `objective.share`; any other flow is chosen by the kind
            and number of the data.
        objective: What to train it to do.
        minutes: About so long at most takes the training of a flow that is chosen for pictures, on
            this machine: its depth, width and steps follow, by the time of a step. Default 20.
        train: Steps, learning rate and all else of the optimiser; default: validation finds both.
        batch_size: Rows of the global batch, over all workers.
        train_rows: Use only the first rows of the training split.
        validation_rows: How many rows of the validation split choose the weights to keep.
        validate_every: Steps between validations; default 200, or ten epochs of few rows, at least
            20 steps: a small table is learnt by heart within a hundred.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of metrics.
        seed: Of parameters, order, noise and latents.
        scaling: What it runs on.
        tracking: Where its metrics are sent besides the store, which has them as TensorBoard's
            events, too.
    """

    name: RunName
    dataset: str
    flow: AnyFlowConfig | None = None
    objective: ObjectiveConfig = MaximumLikelihoodConfig()
    minutes: float = Field(20.0, gt=0)
    train: TrainConfig = TrainConfig()
    batch_size: int = Field(256, ge=1)
    train_rows: int | None = Field(None, ge=1)
    validation_rows: int = Field(1000, ge=1)
    validate_every: int | None = Field(None, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    log_every: int = Field(10, ge=1)
    seed: int = Field(0, ge=0)
    scaling: ScalingConfig = ScalingConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="before")
    @classmethod
    def _without_data(cls, values: Any) -> Any:
        """Without data there is nothing to learn from but the teacher's samples."""
        if not isinstance(values, dict) or values.get("dataset") != NO_DATA:
            return values
        objective = values.get("objective")
        if not isinstance(objective, dict) or "weights" in objective:
            return values
        return {**values, "objective": {**objective, "weights": {"nll": 0, "samples": 1}}}

    @model_validator(mode="after")
    def _divides(self) -> TrainingConfig:
        self.scaling.check_divides("batch_size", self.batch_size)
        self._check_parts()
        self._check_compiled()
        if self.distillation is not None:
            drawn = self.distillation.samples.batch_size or 0
            self.scaling.check_divides("objective.samples.batch_size", drawn)
        if self.dataset == NO_DATA:
            self._check_without_data()
        return self

    def _check_parts(self) -> None:
        parts = self.train.accumulate
        if parts == 1:
            return
        if self.batch_size % parts:
            raise ValueError(
                f"expected batch_size divisible by train.accumulate = {parts}; got "
                f"{self.batch_size}"
            )
        self.scaling.check_divides("batch_size / train.accumulate", self.batch_size // parts)
        hints = () if self.distillation is None else self.distillation.hints
        if any(hint.normalize for hint in hints):
            raise ValueError(
                f"expected train.accumulate: 1 for hints with normalize, whose variance is that of "
                f"the whole batch; got {parts}"
            )

    def _check_compiled(self) -> None:
        hints = () if self.distillation is None else self.distillation.hints
        together = self.scaling.workers > 1 and any(hint.normalize for hint in hints)
        if self.train.compile is True and together:
            raise ValueError(
                f"expected train.compile: false for hints with normalize on several workers, who "
                f"add up their variance in mid-step; got true for {self.scaling.workers}"
            )

    def _check_without_data(self) -> None:
        if self.distillation is None:
            raise ValueError(f"expected a data set to train on; got dataset: {NO_DATA}")
        weights = self.distillation.weights
        if weights.ever("nll"):
            raise ValueError(
                f"dataset: {NO_DATA}: expected objective.weights with nll: 0, and a weight for "
                f"samples or another term; got nll: {weights.nll}"
            )
        if weights.ever(*OF_NOISE) and not self.distillation.samples.rows:
            raise ValueError(
                f"dataset: {NO_DATA}: expected samples.rows for a term of noise, "
                f"{', '.join(OF_NOISE)}; got none"
            )

    def validation_steps(self, rows: int | None) -> int:
        """Returns the steps between validations, for so many training rows; None for unknown."""
        if self.validate_every is not None:
            return self.validate_every
        if rows is None:
            return MOST_VALIDATION_STEPS
        epochs = round(VALIDATION_EPOCHS * rows / self.batch_size)
        return min(MOST_VALIDATION_STEPS, max(LEAST_VALIDATION_STEPS, epochs))

    @property
    def distillation(self) -> DistillationConfig | None:
        """The objective, where it has a teacher; None for maximum likelihood."""
        return self.objective if isinstance(self.objective, DistillationConfig) else None

    @property
    def learns_from_samples(self) -> bool:
        """Whether a teacher's samples are among what is learnt from."""
        return self.distillation is not None and (
            self.dataset == NO_DATA or self.distillation.weights.ever("samples")
        )
