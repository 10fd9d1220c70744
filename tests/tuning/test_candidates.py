"""The space of a search: whatever is drawn can be trained, and what cannot be is refused."""

from __future__ import annotations

from typing import Any, get_args

import optuna
import pytest
from pydantic import ValidationError

from flowkd.distillation.objective import DistillationConfig
from flowkd.distillation.schedules import LossWeights
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow, count_parameters
from flowkd.store.store import Store
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.resolve import resolve_run
from tests.support.searches import searching, space
from tuning.baselines import default_shape, nearest
from tuning.candidates import Candidate, CandidateSpace
from tuning.space import LogUniform, Term
from tuning.suggest import OptunaSuggester, grid

optuna.logging.set_verbosity(optuna.logging.WARNING)
DRAWS = 80


@pytest.fixture(autouse=True)
def _measure_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.candidates.RATE_SECONDS", 0.05)


def drawn(
    candidates: CandidateSpace, sampler: optuna.samplers.BaseSampler
) -> list[tuple[Candidate, dict]]:
    study = optuna.create_study(sampler=sampler)
    found = []
    for _ in range(DRAWS):
        trial = study.ask()
        found.append((candidates.draw(OptunaSuggester(trial)), trial.params))
        study.tell(trial, float(trial.number % 7))
    return found


@pytest.fixture
def candidates(taught_store: Store) -> CandidateSpace:
    return CandidateSpace(searching("space"), taught_store)


@pytest.mark.parametrize("kind", ["random", "tpe"])
def test_every_candidate_fits_the_budget_and_can_be_trained(
    candidates: CandidateSpace, taught_store: Store, kind: str
) -> None:
    samplers = {
        "random": optuna.samplers.RandomSampler(seed=0),
        "tpe": optuna.samplers.TPESampler(seed=0, multivariate=True, group=True),
    }
    most = 0.9 * count_parameters(candidates.teacher.flow)
    sizes = set()
    for candidate, _ in drawn(candidates, samplers[kind]):
        resolve_run(candidate.training, taught_store)
        flow = build_flow(complete_flow(candidate.training.flow, candidates.manifest))
        assert count_parameters(flow) == candidate.shape.parameters <= most
        sizes.add(candidate.shape.parameters)
    assert len(sizes) == 4  # a width of 60 is beyond the budget


def test_families_are_chosen_within_the_budget_with_what_each_has_of_the_student(
    taught_store: Store,
) -> None:
    shape = {
        "kind": ["coupling", "autoregressive"],
        "transform": ["affine", "spline"],
        "width": [4, 200],
    }
    student = {"kind": "coupling", "depth": 2, "inner": 5, "context": "ignore"}
    config = searching(
        "families", student=student, space={"shape": shape, "learning_rate": 0.01},
        budget={"parameters_share": 1.5},
    )  # fmt: skip
    candidates = CandidateSpace(config, taught_store)
    found = {(each.flow.kind, each.flow.transform) for each in candidates.shapes}
    assert found >= {("coupling", "affine"), ("coupling", "spline"), ("autoregressive", "affine")}
    assert {each.flow.width for each in candidates.shapes} == {4}  # the other is beyond the budget
    assert {each.flow.depth for each in candidates.shapes} == {2}
    assert {each.flow.inner for each in candidates.shapes if each.flow.kind == "coupling"} == {5}
    drawn_kinds = {
        candidate.training.flow.kind
        for candidate, _ in drawn(candidates, optuna.samplers.RandomSampler(seed=0))
    }
    assert drawn_kinds == {"coupling", "autoregressive"}
    default = default_shape(candidates)
    point, params = nearest(
        candidates,
        Candidate(
            default,
            candidates.training("near", default, DistillationConfig(teacher="runs/teacher"), 0.01),
        ),
    )
    assert (params["shape.kind"], point.shape.flow.kind) == ("coupling", "coupling")
    assert params["shape.transform"] == "affine"


def test_hints_keep_the_order_of_both_flows(candidates: CandidateSpace) -> None:
    theirs = list(candidates.teacher.flow.taps)
    pairs = set()
    for candidate, parameters in drawn(candidates, optuna.samplers.RandomSampler(seed=0)):
        objective = candidate.training.distillation
        if objective is None:
            continue
        ours = list(candidate.shape.taps)
        places = [(ours.index(h.student), theirs.index(h.teacher)) for h in objective.hints]
        assert places == sorted(places)
        assert len({teacher for _, teacher in places}) == len(places) <= 2
        on = [name for name, value in parameters.items() if "hint." in name and value == "on"]
        assert [f"hint.{hint.student}" for hint in objective.hints] == on
        pairs.add(tuple((hint.student, hint.teacher) for hint in objective.hints))
    assert {len(pair) for pair in pairs} == {0, 1, 2}
    assert len(pairs) > 8


def test_what_no_parent_chose_does_not_exist(candidates: CandidateSpace) -> None:
    for candidate, parameters in drawn(candidates, optuna.samplers.RandomSampler(seed=0)):
        objective = candidate.training.distillation
        if objective is None:
            assert parameters["warm_start"] == "none"
            assert all(parameters[name] == "off" for name in parameters if name.startswith("wei"))
            continue
        at_hints = {
            name for name in parameters if name.startswith(("weights.hints", "weights.log"))
        }
        assert bool(objective.hints) == bool(at_hints) == objective.weights.ever("hints")
        assert ("hints.normalize" in parameters) == bool(objective.hints)
        off = parameters["weights.samples"] == "off"
        assert off == ("weights.samples.at" not in parameters) == (objective.weights.samples == 0)
        steps = parameters.get("shape.depth", "1")
        assert str(candidate.shape.sizes["depth"]) == steps


def test_each_term_may_be_weighted() -> None:
    assert set(get_args(Term)) == set(LossWeights.model_fields)


def test_equal_parameters_give_equal_candidates(candidates: CandidateSpace) -> None:
    before = drawn(candidates, optuna.samplers.RandomSampler(seed=0))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for candidate, parameters in before:
        study.enqueue_trial(parameters)
        trial = study.ask()
        assert candidates.draw(OptunaSuggester(trial)) == candidate
        assert trial.params == parameters
        study.tell(trial, 0.0)


def test_a_grid_takes_every_way_once(taught_store: Store) -> None:
    small = space(
        hints=None,
        weights={"samples": {"low": 0.1, "high": 1, "optional": True, "grid_points": 2}},
        warm_start=["none", "slice"],
        shape={"depth": [1, 2]},
        learning_rate={"low": 0.001, "high": 0.1, "grid_points": 3},
    )
    candidates = CandidateSpace(
        searching("grid", algorithm="grid", trials=36, space=small), taught_store
    )
    points = grid(candidates.draw, 36)
    assert len(points) == 2 * 3 * (1 + 2) * 2
    assert len({tuple(sorted(point.items())) for point in points}) == len(points)
    for point in points:
        study = optuna.create_study()
        study.enqueue_trial(point)
        candidate = candidates.draw(OptunaSuggester(study.ask()))
        assert candidate.training.train.learning_rate == pytest.approx(point["learning_rate"])
    with pytest.raises(ConfigError, match="at most trials = 35 points; got more: raise trials"):
        grid(candidates.draw, 35)
    assert LogUniform(low=0.001, high=0.1).grid() == pytest.approx([0.001, 0.01, 0.1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objectives": ["speed"]}, "bits_per_dim"),
        ({"objectives": ["throughput"]}, r"expected objectives \[bits_per_dim\]"),
        (
            {"budget": {}},
            "expected one of parameters, parameters_share and throughput_ratio; got none",
        ),
        ({"budget": {"parameters_share": 1, "parameters": 5}}, "got parameters, parameters_share"),
        ({"space": space(weights={"kd": 1, "hints": 1})}, "nll"),
        ({"space": space(weights={"nll": 1})}, "expected a weight for hints or log_det"),
        ({"space": space(hints=None)}, "expected hints with a weight for hints and log_det"),
        (
            {"space": space(weights={"nll": 0, "hints": {"low": 0.1, "high": 1}})},
            "expected a term that always counts",
        ),
        (
            {"space": {"learning_rate": 0.1}},
            "expected something to choose from",
        ),
        ({"space": space(learning_rate={"low": 1, "high": 0.1})}, "expected low below high"),
        ({"space": space(widths=[3])}, "widths"),
        ({"algorithm": "pbt"}, "pbt: expected space.weights with a weight to choose, and none"),
        (
            {
                "algorithm": "pbt",
                "space": {"weights": {"latent": {"low": 1, "high": 2}}, "learning_rate": 1},
                "scaling": {"workers": 2},
            },
            "pbt: expected scaling.workers: 1 and one objective; got 2",
        ),
    ],
)
def test_a_faulty_config_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        searching("faulty", **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"budget": {"parameters": 10}}, r"at most 10 parameters; got .* whose smallest has \d+"),
        (
            {"budget": {"throughput_ratio": 1e6}},
            "at least 1e.06 times the teacher's throughput; got",
        ),
        ({"space": space(hints={"student": ["step9"]})}, "no tap 'step9'; valid taps are"),
        ({"space": space(hints={"teacher": ["stem"]})}, "space.hints.teacher: .* no tap 'stem'"),
        ({"space": space(hints={"student": ["preprocess"]})}, "no tap of a student has the shape"),
        ({"space": space(shape={"levels": [1, 2]})}, "flows of kind coupling have no levels"),
        (
            {"space": space(shape={"kind": ["coupling", "autoregressive"], "inner": [8]})},
            "flows of kind autoregressive have no inner",
        ),
        ({"space": space(shape={"depth": [0]})}, "no student can be built; the last refusal"),
        (
            {
                "space": space(warm_start=["fold"], shape={"depth": [9]}),
                "budget": {"parameters_share": 99},
            },
            "no student within the budget can begin by fold",
        ),
        (
            {"student": {"kind": "coupling", "depth": 2, "width": 6}},
            r"student: expected the teacher's context, no context; .* set `context: ignore`",
        ),
    ],
)
def test_what_a_teacher_or_budget_does_not_allow_is_refused(
    taught_store: Store, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        CandidateSpace(searching("refused", **changes), taught_store)


def test_throughput_is_measured_once_for_each_shape(taught_store: Store) -> None:
    config = searching(
        "fast", budget={"throughput_ratio": 0.01}, objectives=["bits_per_dim", "throughput"]
    )
    candidates = CandidateSpace(config, taught_store)
    assert len(candidates.rates) == 6  # a budget of throughput rules out no width
    kept = dict.fromkeys(candidates.rates, 0.5)
    again = CandidateSpace(config, taught_store, kept)
    assert {shape.throughput for shape in again.shapes} == {0.5}
    assert again.rates == kept


def test_a_budget_of_throughput_is_held(taught_store: Store) -> None:
    shapes = CandidateSpace(searching("all", budget={"parameters": 10**9}), taught_store).shapes
    rates = {shape.key: float(number) for number, shape in enumerate(shapes)}
    config = searching("fast", budget={"throughput_ratio": 2.0})
    found = CandidateSpace(config, taught_store, rates).shapes
    assert [shape.throughput for shape in found] == [2.0, 3.0, 4.0, 5.0]
