"""What a search is: a teacher, a budget, a space, and how long to look."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.distill.cache import CacheConfig
from flowkd.distill.teacher_samples import SamplesConfig
from flowkd.flows.configs import FlowConfig
from flowkd.names import ModelName, RunName
from flowkd.training.config import ScalingConfig
from flowkd.training.loop import TrainConfig
from tuning.space import SpaceConfig, WeightSpace

Objective = Literal["bits_per_dim", "throughput"]


class BudgetConfig(Config):
    """What a student may cost; exactly one is given.

    Attributes:
        parameters: The most trainable values.
        share: The most of them as a share of the teacher's.
        throughput: How many times as many log_prob a second as the teacher's it must compute, at
            least; measured before the search on the machine of its driver.
    """

    parameters: int | None = Field(None, ge=1)
    parameters_share: float | None = Field(None, gt=0)
    throughput_ratio: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _one(self) -> BudgetConfig:
        given = [name for name, value in self if value is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of parameters, parameters_share and throughput_ratio; got "
                f"{', '.join(given) or 'none'}"
            )
        return self


class StoppingConfig(Config):
    """Asynchronous successive halving: at each rung only the best of those that came so far go on.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020,
    https://arxiv.org/abs/1810.05934.

    Attributes:
        first: Share of the steps at the first rung.
        keep: One of so many goes on from a rung; rungs are this factor apart.
    """

    grace_period: float = Field(0.1, gt=0, lt=1)
    reduction_factor: float = Field(3, gt=1)


class PopulationConfig(Config):
    """Population based training: from time to time the worst go on as the best, changed a little.

    Source: Jaderberg et al., Population Based Training of Neural Networks, 2017,
    https://arxiv.org/abs/1711.09846.

    Attributes:
        every: Share of the steps between two such times.
        worst: Share of the population that is replaced.
        factor: By which each open weight is multiplied or divided.
    """

    perturbation_interval: float = Field(0.1, gt=0, lt=1)
    quantile_fraction: float = Field(0.25, gt=0, le=0.5)
    perturbation_factor: float = Field(1.5, gt=1)


class FinalConfig(Config):
    """What becomes of the best candidate.

    Attributes:
        steps: Of its training on the full budget, and of the plain student's; by default the
            trials' own.
        model: What it is published as.
        alias: Is pointed at it.
        round_trip: The largest error from x to z and back, in preprocessed units, that passes.
        rows: Of the test split, at most.
        seconds: About how long its throughput is measured.
    """

    steps: int | None = Field(None, ge=1)
    model: ModelName
    alias: ModelName = "best"
    max_round_trip_error: float = Field(1e-2, gt=0)
    test_rows: int | None = Field(None, ge=2)
    throughput_seconds: float = Field(5.0, gt=0)


class SearchConfig(Config):
    """A search for the best student of a teacher within a budget.

    Attributes:
        name: Of the search.
        teacher: Reference of its artifact.
        dataset: Name of a prepared data set.
        student: The flow; what the space's shape names is replaced.
        budget: What a student may cost.
        space: What to choose from.
        train: How each trial trains; its learning rate is the space's.
        algorithm: `tpe`: multivariate tree-structured Parzen estimator; `random`; `grid`; or `pbt`,
            a random population whose weights change while it trains.
        objectives: One for the best, two for a Pareto front; trials then are not stopped early.
        trials: How many; a grid of more points is refused.
        concurrent: At once, at most; by default what fits.
        stopping: How bad trials are stopped early; none: all are trained to their end.
        population: How those of `pbt` change.
        batch_size: Of each trial, over its workers, as the seven that follow.
        seed: Of the search and of every trial.
        scaling: What each trial runs on; one of several workers is a Ray Train run of its own.
        cache: Of the teacher's targets, computed once for all trials.
        final: What becomes of the best; none: nothing is trained afterwards.
    """

    name: Annotated[RunName, Field(max_length=60)]
    teacher: str
    dataset: str
    student: FlowConfig
    budget: BudgetConfig
    space: SpaceConfig
    train: TrainConfig
    algorithm: Literal["tpe", "random", "grid", "pbt"] = "tpe"
    objectives: tuple[Objective, ...] = Field(("bits_per_dim",), min_length=1, max_length=2)
    trials: int = Field(30, ge=1)
    max_concurrent_trials: int | None = Field(None, ge=1)
    stopping: StoppingConfig | None = StoppingConfig()
    population: PopulationConfig = PopulationConfig()
    batch_size: int = Field(256, ge=1)
    train_rows: int | None = Field(None, ge=1)
    validation_rows: int = Field(1000, ge=1)
    validate_every: int = Field(100, ge=1)
    temperature: float = Field(1.0, gt=0)
    samples: SamplesConfig = SamplesConfig()
    cache: CacheConfig = CacheConfig()
    seed: int = Field(0, ge=0)
    scaling: ScalingConfig = ScalingConfig()
    final: FinalConfig | None = None

    @model_validator(mode="after")
    def _fits(self) -> SearchConfig:
        if "bits_per_dim" not in self.objectives or len(set(self.objectives)) < len(
            self.objectives
        ):
            raise ValueError(
                f"expected objectives [bits_per_dim] or [bits_per_dim, throughput]; got "
                f"{list(self.objectives)}"
            )
        if self.algorithm == "pbt":
            self._check_population()
        return self

    def _check_population(self) -> None:
        open_ = [w for w in self.space.weights.values() if isinstance(w, WeightSpace)]
        if not open_ or any(weight.schedules != ("constant",) for weight in open_):
            raise ValueError(
                "algorithm: pbt: expected space.weights with a weight to choose, and none with "
                "schedules: it finds the schedule itself"
            )
        if self.scaling.workers > 1 or len(self.objectives) > 1:
            raise ValueError(
                f"algorithm: pbt: expected scaling.workers: 1 and one objective; got "
                f"{self.scaling.workers} and {list(self.objectives)}: choose algorithm: tpe"
            )

    @property
    def first_rung(self) -> int | None:
        """Steps after which trials may be stopped first; None where they are not."""
        if self.stopping is None or len(self.objectives) > 1 or self.algorithm == "pbt":
            return None
        validations = max(
            1, round(self.stopping.grace_period * self.train.steps / self.validate_every)
        )
        step = validations * self.validate_every
        return step if step < self.train.steps else None
