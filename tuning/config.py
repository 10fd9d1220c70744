"""Configuration of a search: a teacher, a budget, a space, trials, and what is published."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flowkd.config import Config
from flowkd.distillation.cache import CacheConfig
from flowkd.distillation.teacher_samples import SamplesConfig
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.round_trip import MAX_ROUND_TRIP_ERROR
from flowkd.names import ModelName, RunName
from flowkd.training.config import ScalingConfig
from flowkd.training.train_config import TrainConfig
from tuning.space import SpaceConfig, WeightSpace

Objective = Literal["bits_per_dim", "throughput"]


class BudgetConfig(Config):
    """The most that a student may cost; exactly one of these is given.

    Attributes:
        parameters: The largest number of trainable values.
        parameters_share: The same as a share of the teacher's.
        throughput_ratio: The least log_prob a second over the teacher's; measured before the
            search on the machine of its driver, on one thread.
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
    """Asynchronous successive halving (ASHA): at each rung only the best trials so far go on.

    Source: Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020,
    https://arxiv.org/abs/1810.05934.

    Attributes:
        grace_period: The first rung, as a share of a trial's steps; default 0.1.
        reduction_factor: One of so many goes on from a rung, and rungs are this factor apart;
            default 3.
    """

    grace_period: float = Field(0.1, gt=0, lt=1)
    reduction_factor: float = Field(3, gt=1)


class PopulationConfig(Config):
    """Population based training: from time to time the worst trials go on from the best ones.

    They take over the state of a better one, with weights that are changed a little.

    Source: Jaderberg et al., Population Based Training of Neural Networks, 2017,
    https://arxiv.org/abs/1711.09846.

    Attributes:
        perturbation_interval: Steps between two such times, as a share of all; default 0.1.
        quantile_fraction: Share of the population that is replaced each time; default 0.25.
        perturbation_factor: Each weight that may be chosen is multiplied or divided by this;
            default 1.5.
    """

    perturbation_interval: float = Field(0.1, gt=0, lt=1)
    quantile_fraction: float = Field(0.25, gt=0, le=0.5)
    perturbation_factor: float = Field(1.5, gt=1)


class FinalConfig(Config):
    """How the best candidate is trained in full, and what it must pass to be published.

    Attributes:
        steps: Steps of its full training and of the plain student's; default those of a trial.
        model: Name of the model that it is published as.
        alias: The model's alias that then points at it; default `best`.
        max_round_trip_error: The most that it may be off after a round trip between x and z, as it
            is served, on rows and on samples; default 0.01.
        force: Whether it is published although it is further off on validation rows, or worse on
            them than a Gaussian; its card notes it.
        test_rows: The first rows of the test split on which it is judged; default all.
        throughput_seconds: About how long to measure throughput; default 5.
    """

    steps: int | None = Field(None, ge=1)
    model: ModelName
    alias: ModelName = "best"
    max_round_trip_error: float = Field(MAX_ROUND_TRIP_ERROR, gt=0)
    force: bool = False
    test_rows: int | None = Field(None, ge=2)
    throughput_seconds: float = Field(5.0, gt=0)


class SearchConfig(Config):
    """A search for the best student of a teacher within a budget.

    Attributes:
        name: Name of the search; its files lie in `searches/NAME/` of the store.
        teacher: Reference of the teacher's artifact.
        dataset: Name of a prepared data set.
        student: The student's flow; fields that `space.shape` names are replaced.
        budget: What a student may cost.
        space: What is chosen for each trial.
        train: How a trial is trained; its learning rate is the space's, but for the two trials that
            come first: theirs is this one, by default found as every training finds it.
        algorithm: `tpe`, a multivariate tree-structured Parzen estimator (default); `random`;
            `grid`; or `pbt`, a random population whose weights change while it trains.
        objectives: `[bits_per_dim]` (default) for the best, or `[bits_per_dim, throughput]` for a
            Pareto front; with two, no trial is stopped early.
        trials: Number of candidates, default 30; a grid of more points is refused. The plain
            student and the default distillation are trained first, besides.
        max_concurrent_trials: The most trials at once; default as many as the cluster holds.
        stopping: How bad trials are stopped early; none: all are trained to their end.
        population: How the trials of `pbt` change.
        batch_size: Rows of a step, over all workers of a trial; default 256.
        train_rows: The first rows of the training split that are used; default all.
        validation_rows: The first rows of the validation split that trials are judged on.
        validate_every: Steps between two validations; default 100.
        temperature: Of the noise for the terms `synthesis`, `noise_cycle` and `reverse_kl`.
        samples: Teacher samples for the term `samples`, drawn once for all trials.
        cache: How the teacher's targets are kept, computed once for all trials.
        seed: Seed of the search and of every trial.
        scaling: What each trial runs on; one of several workers is a Ray Train run of its own.
        final: How the best is trained in full and published; default none, it is not.
    """

    name: Annotated[RunName, Field(max_length=60)]
    teacher: str
    dataset: str
    student: AnyFlowConfig
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
        if self.train.plateau is not None:
            raise ValueError(
                "train.steps: expected a number, by which trials are compared and stopped; got "
                "auto, or a plateau beside it"
            )
        if self.cache.kind != "none" and not self.samples.rows:
            raise ValueError(
                f"cache.kind: expected none for samples drawn at every step, from which the "
                f"default distillation learns; got {self.cache.kind}: set samples.rows, or leave "
                f"it out"
            )
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
    def times_students(self) -> bool:
        """Whether students' throughput is measured: the budget or the objectives ask for it."""
        return self.budget.throughput_ratio is not None or "throughput" in self.objectives

    @property
    def first_rung(self) -> int | None:
        """Step at which trials may first be stopped; None if no trial is."""
        if self.stopping is None or len(self.objectives) > 1 or self.algorithm == "pbt":
            return None
        validations = max(
            1, round(self.stopping.grace_period * self.train.steps / self.validate_every)
        )
        step = validations * self.validate_every
        return step if step < self.train.steps else None
