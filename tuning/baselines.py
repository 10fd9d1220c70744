"""The trials that a search begins with: what it gives for nothing, which its best has to beat.

They are the student without a teacher and the distillation with nothing set, both of the size that
the budget allows and with the learning rate that a training finds. As they are trials, the best
trial is never worse than either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flowkd.distillation.objective import (
    DistillationConfig,
    MaximumLikelihoodConfig,
    ObjectiveConfig,
)
from flowkd.distillation.schedules import Cosine, Linear
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow, count_parameters
from flowkd.registry.pins import pin_artifact
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.choices.flow import with_flow
from flowkd.training.config import TrainingConfig
from flowkd.training.resolve import resolve_run
from flowkd.training.train_config import LearningRate
from tuning.candidates import Candidate, CandidateSpace
from tuning.hint_pairs import OFF, ON
from tuning.records import Role, SearchRecords
from tuning.shapes import Shape, begins
from tuning.space import WarmStartOrNone
from tuning.suggest import Value, label

ROLES: tuple[Role, ...] = ("plain", "default")  # in the order of their trials, from 0

# Finds the learning rate of a run that leaves it open.
FindRate = Callable[[TrainingConfig], float]


@dataclass(frozen=True)
class Baseline:
    """A trial that is not drawn.

    Attributes:
        role: Which one it is.
        candidate: Its student and how it is trained.
        params: The parameters by which the space would draw it; None if it is no point of it.
    """

    role: Role
    candidate: Candidate
    params: dict[str, Value] | None


def baselines(
    candidates: CandidateSpace, shape: Shape, records: SearchRecords, find_rate: FindRate
) -> list[Baseline]:
    """Returns the trials that a search begins with, in the order of `ROLES`.

    Args:
        candidates: The candidates of the search.
        shape: Their student, of `default_shape`.
        records: Of the search: a baseline that has begun before keeps its learning rate.
        find_rate: Called for each whose learning rate has to be found: the best of a flow that
            begins as the folded teacher is not that of one that begins at random.
    """
    found = []
    for number, role in enumerate(ROLES):
        begun = records.begun(number)
        known: LearningRate = candidates.config.train.learning_rate
        if begun is not None:
            known = TrainingConfig.model_validate(begun.training).train.learning_rate
        if known == "find":
            known = find_rate(_candidate(candidates, shape, role, known).training)
        candidate = _candidate(candidates, shape, role, known)
        near, params = nearest(candidates, candidate)
        alike = _same(candidates, near, candidate)
        found.append(Baseline(role, candidate, params if alike else None))
    return found


def first_points(candidates: CandidateSpace, found: Sequence[Baseline]) -> list[dict[str, Value]]:
    """Returns the point of the space that is most like the default distillation, unless it is one.

    TPE begins from it: the default itself, which the space would not draw, tells it nothing.
    """
    default = found[ROLES.index("default")]
    if default.params is not None or candidates.config.algorithm != "tpe":
        return []
    return [nearest(candidates, default.candidate)[1]]


def nearest(candidates: CandidateSpace, wanted: Candidate) -> tuple[Candidate, dict[str, Value]]:
    """Returns the candidate of the space that is most like another one, and its parameters."""
    suggester = _Nearest(wanted)
    return candidates.draw(suggester, wanted.training.name), suggester.params


def default_shape(candidates: CandidateSpace) -> Shape:
    """Returns the student of a distillation with nothing set but what the budget allows.

    Where the teacher's family has none that is small or fast enough, it is the largest of the
    space.
    """
    config, teacher = candidates.config, pin_artifact(candidates.store, candidates.config.teacher)
    run = TrainingConfig(
        name=config.name,
        dataset=config.dataset,
        objective=DistillationConfig(teacher=config.teacher, **_size(candidates)),
    )
    try:
        flow = with_flow(run, candidates.manifest, teacher, [], candidates.store).flow
    except ConfigError:
        return max(candidates.shapes, key=lambda shape: shape.parameters)
    assert flow is not None
    built = build_flow(flow)
    rows = candidates.manifest.splits["train"].rows
    rows = min(rows, config.train_rows or rows)
    fold = begins("fold", complete_flow(flow, candidates.manifest), candidates.source, rows)
    starts: tuple[WarmStartOrNone, ...] = ("fold",) if fold else ("none",)
    shape = Shape({}, flow, count_parameters(built), built.taps, starts)
    if config.times_students:
        shape = replace(shape, throughput=candidates.rate(flow))
    return shape


def _size(candidates: CandidateSpace) -> dict[str, float]:
    """Returns the size that a budget allows, as keys of an objective; none that is no limit."""
    budget = candidates.config.budget
    if budget.throughput_ratio is not None:
        return {"throughput": budget.throughput_ratio} if budget.throughput_ratio > 1 else {}
    share = budget.parameters_share
    if budget.parameters is not None:
        share = budget.parameters / count_parameters(candidates.teacher.flow)
    return {"share": share} if share is not None and share < 1 else {}


def _candidate(
    candidates: CandidateSpace, shape: Shape, role: Role, rate: LearningRate
) -> Candidate:
    config = candidates.config
    objective: ObjectiveConfig = MaximumLikelihoodConfig()
    if role == "default":
        objective = DistillationConfig(
            teacher=config.teacher,
            temperature=config.temperature,
            samples=config.samples,
            cache=config.cache,
            warm_start=shape.warm_starts[0],
        )
    name = f"search-{config.name}-{ROLES.index(role):04}"
    return Candidate(shape, candidates.training(name, shape, objective, rate))


def _same(candidates: CandidateSpace, one: Candidate, other: Candidate) -> bool:
    """Tells whether two candidates are the same student, trained in the same way."""

    def facts(candidate: Candidate) -> tuple[Any, ...]:
        training = candidate.training
        assert training.flow is not None
        flow = complete_flow(training.flow, candidates.manifest)
        return flow, training.objective, training.train

    return facts(one) == facts(other)


class _Nearest:
    """Suggests, of what there is, what is most like a candidate.

    Attributes:
        params: What it has suggested, by name.
    """

    def __init__(self, wanted: Candidate) -> None:
        training = wanted.training
        self._flow = training.flow
        self._rate = training.train.peak
        self._distillation = training.distillation
        self.params: dict[str, Value] = {}

    def categorical(self, name: str, choices: Sequence[str]) -> str:
        """Returns the choice that is most like the candidate's."""
        self.params[name] = chosen = self._chosen(name.split(" of ")[0], choices)
        return chosen

    def number(
        self, name: str, low: float, high: float, grid: Sequence[float], log: bool = False
    ) -> float:
        """Returns the candidate's number, or the end of the range that is nearest to it."""
        if name == "learning_rate":
            wanted = self._rate
        elif name.startswith("weights."):
            wanted = _first(self._weight(name.split(".")[1]))
        else:
            wanted = 0.5 * (low + high)
        self.params[name] = chosen = min(max(wanted, low), high)
        return chosen

    def _chosen(self, name: str, choices: Sequence[str]) -> str:
        group, _, rest = name.partition(".")
        if group == "shape":
            wanted = label(getattr(self._flow, rest, choices[-1]))
            if wanted in choices:
                return wanted
            return min(choices, key=lambda choice: abs(_mean(choice) - _mean(wanted)))
        if group == "hint":
            return OFF
        wanted = "none" if self._distillation is None else self._distillation.warm_start
        if group == "weights":
            weight = self._weight(rest.split(".")[0])
            wanted = ON if _first(weight) > 0 else OFF
            if rest.endswith(".schedule"):
                wanted = weight.kind if isinstance(weight, Cosine | Linear) else "constant"
        return wanted if wanted in choices else choices[0]

    def _weight(self, term: str) -> Any:
        if self._distillation is None:
            return 0.0
        return getattr(self._distillation.weights, term)


def _first(weight: Any) -> float:
    """Returns a weight's amount, as a space draws it."""
    if isinstance(weight, Cosine):
        return weight.start
    return float(weight.end if isinstance(weight, Linear) else weight)


def _mean(choice: str) -> float:
    """Returns the mean of the numbers of a label, `32` or `32-16`."""
    numbers = [int(part) for part in choice.split("-") if part.isdigit()]
    return sum(numbers) / len(numbers) if numbers else math.inf


def finder(candidates: CandidateSpace, rate_of: Callable[[Any], Any]) -> FindRate:
    """Returns what finds the learning rate of a run on the search's data.

    Args:
        candidates: The candidates of the search.
        rate_of: Takes a resolved run, and returns it with its learning rate.
    """

    def find(training: TrainingConfig) -> float:
        return float(rate_of(resolve_run(training, candidates.store)).config.train.peak)

    return find
