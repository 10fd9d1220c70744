"""The candidates of a search: the students that its budget allows, and how each is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.distillation.hints import Hint
from flowkd.distillation.objective import (
    DistillationConfig,
    MaximumLikelihoodConfig,
    ObjectiveConfig,
)
from flowkd.distillation.schedules import LossWeights
from flowkd.evaluation.throughput import log_prob_per_second
from flowkd.flows.build import build_flow
from flowkd.flows.family import FlowConfig
from flowkd.flows.inference import for_inference
from flowkd.registry.artifacts import Artifact, load_artifact
from flowkd.store.store import Store
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.config import TrainingConfig
from flowkd.training.train_config import LearningRate
from tuning.config import SearchConfig
from tuning.hint_pairs import OFF, ON, HintPairs, check_taps
from tuning.shapes import Shape, allowed_shapes
from tuning.space import AT_HINTS, FieldValue, LogUniform, Schedule, Term, WeightSpace, scheduled
from tuning.suggest import Suggester, suggest_one

# Of the measurement of a student's throughput.
RATE_ROWS, RATE_SECONDS = 64, 1.0


@dataclass(frozen=True)
class Candidate:
    """A student and how it is to be trained.

    Attributes:
        shape: The student.
        training: Config of its run.
    """

    shape: Shape
    training: TrainingConfig


class CandidateSpace:
    """All candidates of a search.

    Args:
        config: The search.
        store: Holds the teacher and the data set.
        rates: Students' log_prob a second over the teacher's, by `Shape.key`, as measured before;
            what is missing is measured now, if the search asks for it.

    Raises:
        ConfigError: A space that names what is not there, or a budget that no student meets.
        DataError: No such data set.
        StoreError: No such teacher.
    """

    def __init__(
        self, config: SearchConfig, store: Store, rates: Mapping[str, float] | None = None
    ) -> None:
        self.config = config
        self.store = store
        self.teacher: Artifact = load_artifact(store, config.teacher)
        self.manifest = read_manifest(store, config.dataset)
        self.source: FlowConfig = self.teacher.config.flow
        self._rates = dict(rates or {})
        self.shapes = allowed_shapes(
            config, self.manifest, self.teacher.flow, self.source, self.rate
        )
        self._pairs: dict[str, HintPairs] = {}
        if config.space.hints is not None:
            taps = self.teacher.flow.taps
            check_taps(config.space.hints, [shape.taps for shape in self.shapes], taps)
            self._pairs = {
                shape.key: HintPairs(config.space.hints, shape.taps, taps) for shape in self.shapes
            }

    @property
    def teacher_taps(self) -> list[str]:
        """Taps of the teacher at which any candidate may have a hint, in the teacher's order."""
        fitting = [found.values() for found in (pairs.fitting for pairs in self._pairs.values())]
        taps = {tap for values in fitting for names in values for tap in names}
        return [tap for tap in self.teacher.flow.taps if tap in taps]

    @property
    def rates(self) -> dict[str, float]:
        """Students' log_prob a second over the teacher's, by `Shape.key`, as far as measured."""
        return dict(self._rates)

    def draw(self, suggester: Suggester, name: str = "candidate") -> Candidate:
        """Returns a candidate that can be trained, whatever the suggester chooses.

        Args:
            suggester: Chooses one parameter after the other.
            name: Name of the candidate's run.
        """
        space = self.config.space
        shape = self._shape(suggester)
        rate = space.learning_rate
        if isinstance(rate, LogUniform):
            rate = suggester.number("learning_rate", rate.low, rate.high, rate.grid(), log=True)
        hints = self._pairs[shape.key].draw(suggester) if space.hints else ()
        weights = self._weights(suggester, hints)
        start = suggest_one(suggester, "warm_start", shape.warm_starts, space.warm_start)
        objective: ObjectiveConfig = MaximumLikelihoodConfig()
        if start != "none" or weights.learns_from_teacher:
            objective = DistillationConfig(
                teacher=self.config.teacher,
                hints=hints,
                weights=weights,
                temperature=self.config.temperature,
                samples=self.config.samples,
                cache=self.config.cache,
                warm_start=start,
            )
        return Candidate(shape, self.training(name, shape, objective, rate))

    def shared_run(self) -> TrainingConfig:
        """Returns a run with the rows and teacher samples that all trials have in common."""
        config = self.config
        objective = DistillationConfig(
            teacher=config.teacher,
            weights=LossWeights(samples=1.0),  # the default distillation has them
            temperature=config.temperature,
            samples=config.samples,
            cache=config.cache,
        )
        return self.training("shared", self.shapes[0], objective, config.train.learning_rate)

    def training(
        self, name: str, shape: Shape, objective: ObjectiveConfig, learning_rate: LearningRate
    ) -> TrainingConfig:
        """Returns the config of a candidate's run."""
        config = self.config
        return TrainingConfig(
            name=name,
            dataset=config.dataset,
            flow=shape.flow,
            objective=objective,
            train=config.train.model_copy(update={"learning_rate": learning_rate}),
            batch_size=config.batch_size,
            train_rows=config.train_rows,
            validation_rows=config.validation_rows,
            validate_every=config.validate_every,
            checkpoint_every=config.validate_every,
            seed=config.seed,
            scaling=config.scaling,
        )

    def _shape(self, suggester: Suggester) -> Shape:
        """Chooses the shape's fields one after the other, among values that fit the budget."""
        left = self.shapes
        for field, values in self.config.space.shape:
            if values is None:
                continue
            fitting = [v for v in values if any(shape.sizes[field] == v for shape in left)]
            chosen: FieldValue = suggest_one(suggester, f"shape.{field}", fitting, values)
            left = [shape for shape in left if shape.sizes[field] == chosen]
        [shape] = left
        return shape

    def _weights(self, suggester: Suggester, hints: tuple[Hint, ...]) -> LossWeights:
        chosen: dict[str, Any] = {}
        for term, weight in self.config.space.weights.items():
            if term in AT_HINTS and not hints:
                continue
            chosen[term] = _drawn(suggester, term, weight)
        if hints and not any(chosen.get(term) for term in AT_HINTS):  # hints that teach nothing
            [(term, weight), *_] = [
                (term, weight)
                for term, weight in self.config.space.weights.items()
                if term in AT_HINTS and isinstance(weight, WeightSpace)
            ]
            chosen[term] = _amount(suggester, term, weight)
        return LossWeights.model_validate(chosen)

    def rate(self, flow: FlowConfig) -> float:
        """Returns a student's log_prob a second over the teacher's, measured once a shape."""
        key = flow.model_dump_json()
        if key not in self._rates:
            student = build_flow(complete_flow(flow, self.manifest))
            rates = log_prob_per_second(
                {
                    "teacher": for_inference(self.teacher.flow),
                    "student": for_inference(student),
                },
                load_split(self.store, self.manifest, "val", limit=RATE_ROWS),
                self.manifest.bins,
                batch_size=RATE_ROWS,
                seconds=RATE_SECONDS,
            )
            self._rates[key] = rates["student"] / rates["teacher"]
        return self._rates[key]


def _drawn(suggester: Suggester, term: Term, weight: float | WeightSpace) -> Any:
    if not isinstance(weight, WeightSpace):
        return weight
    if weight.optional and suggester.categorical(f"weights.{term}", (OFF, ON)) == OFF:
        return 0.0
    return _amount(suggester, term, weight)


def _amount(suggester: Suggester, term: Term, weight: WeightSpace) -> Any:
    amount = suggester.number(
        f"weights.{term}.at", weight.low, weight.high, weight.grid(), log=True
    )
    schedule: Schedule = suggest_one(
        suggester, f"weights.{term}.schedule", weight.schedules, weight.schedules
    )
    return scheduled(amount, schedule)
