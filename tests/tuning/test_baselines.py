"""The trials that a search begins with: what nothing set gives, and what is told of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import TrialScheduler

from flowkd.distillation.schedules import Cosine
from flowkd.flows.build import count_parameters
from flowkd.store.store import Store
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.choices.timed_shape import TimedShape, _choices
from flowkd.training.config import TrainingConfig
from flowkd.training.resolve import resolve_run
from tests.support.searches import searching, space
from tuning.baselines import Baseline, baselines, default_shape, finder, first_points
from tuning.candidates import CandidateSpace
from tuning.config import SearchConfig
from tuning.pbt import pbt_scheduler
from tuning.records import SearchRecords
from tuning.searcher import CandidateSearcher
from tuning.suggest import OptunaSuggester
from tuning.tune import Halving

RATE = 0.02


def first_of(
    config: SearchConfig, store: Store, rate: float | None = RATE
) -> tuple[CandidateSpace, list[Baseline]]:
    """The baselines of a search, at a rate that is found; none must be looked for if it is None."""
    candidates = CandidateSpace(config, store)
    asked: list[TrainingConfig] = []

    def find(run: TrainingConfig) -> float:
        asked.append(run)
        assert rate is not None
        return rate

    records = SearchRecords(store, config.name)
    found = baselines(candidates, default_shape(candidates), records, find)
    assert len(asked) in (0, 2)  # one for each
    return candidates, found


def finding(name: str, **changes: Any) -> SearchConfig:
    """A search that leaves the learning rate open, its steps apart."""
    train = {"steps": 8, "warmup_steps": 2, "ema_decay": 0.9}
    return searching(name, **{"train": train, **changes})


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        ({"parameters_share": 0.6}, 0.6),
        ({"parameters": 500}, None),
        ({"parameters_share": 7}, 0.25),
    ],
)
def test_they_are_what_a_training_with_nothing_set_is(
    taught_store: Store, budget: dict[str, Any], share: float | None
) -> None:
    config = finding("nothing", budget=budget)
    candidates, (plain, default) = first_of(config, taught_store)
    if share is None:
        share = 500 / count_parameters(candidates.teacher.flow)
    common = {"dataset": "walks", "batch_size": 8, "train": {**config.train.model_dump()}}
    objective = {"teacher": "runs/teacher", "share": share, "samples": {"rows": 20}}
    wanted = resolve_run(
        TrainingConfig.model_validate(
            {"name": "d", **common, "objective": {"kind": "distillation", **objective}}
        ),
        taught_store,
    )
    ours = default.candidate.training
    assert complete_flow(ours.flow, candidates.manifest) == wanted.flow
    assert resolve_run(ours, taught_store).config.objective == wanted.config.objective.model_copy(
        update={"share": ours.objective.share}
    )
    alone = resolve_run(
        TrainingConfig.model_validate(
            {
                "name": "p", **common,
                "objective": {
                    "kind": "maximum_likelihood", "smaller_than": "runs/teacher", "share": share,
                },
            }
        ),
        taught_store,
    )  # fmt: skip
    assert complete_flow(plain.candidate.training.flow, candidates.manifest) == alone.flow
    assert plain.candidate.training.objective.kind == "maximum_likelihood"
    assert [each.role for each in (plain, default)] == ["plain", "default"]
    assert {each.candidate.training.train.learning_rate for each in (plain, default)} == {RATE}


def test_a_learning_rate_is_found_once_and_kept(taught_store: Store) -> None:
    config = finding("resumed")
    candidates, found = first_of(config, taught_store)
    records = SearchRecords(taught_store, config.name)
    searcher = CandidateSearcher(candidates, found, records, [each.params or {} for each in found])
    searcher.suggest("a")
    searcher.suggest("b")
    _, again = first_of(config, taught_store, rate=None)
    assert again == found
    given = searching("given", train={"steps": 8, "learning_rate": 0.004})
    _, (plain, _) = first_of(given, taught_store, rate=None)
    assert plain.candidate.training.train.learning_rate == 0.004


def test_each_rate_is_the_one_that_such_a_training_of_this_flow_finds(taught_store: Store) -> None:
    config = finding("finds")
    candidates = CandidateSpace(config, taught_store)
    asked: list[Any] = []

    def rate_of(run: Any) -> Any:
        asked.append(run)
        train = run.config.train.model_copy(update={"learning_rate": 0.5})
        return run.model_copy(update={"config": run.config.model_copy(update={"train": train})})

    shape = default_shape(candidates)
    records = SearchRecords(taught_store, config.name)
    found = baselines(candidates, shape, records, finder(candidates, rate_of))
    assert {each.candidate.training.train.learning_rate for each in found} == {0.5}
    assert [run.source is None for run in asked] == [True, False]
    for run in asked:
        assert run.config.train.learning_rate == "find"
        assert run.flow == complete_flow(shape.flow, candidates.manifest)


def test_a_budget_of_throughput_is_held_as_a_training_holds_it(taught_store: Store) -> None:
    config = finding("fast", budget={"throughput_ratio": 1.5})
    candidates = CandidateSpace(searching("any"), taught_store)
    flow: Any = candidates.source
    kept = TimedShape(flow=flow.scaled(0.5, 0.5), log_prob=2, sampling=2, timed=1, seconds=1)
    _choices(flow, 1.5, taught_store).found(lambda: kept)
    every = {shape.key: 9.0 for shape in candidates.shapes}
    rates = {**every, kept.flow.model_dump_json(): 1.75}
    candidates = CandidateSpace(config, taught_store, rates)
    shape = default_shape(candidates)
    assert (shape.flow, shape.throughput) == (kept.flow, 1.75)


def test_a_budget_that_no_flow_of_the_teachers_family_meets_takes_one_of_the_space(
    taught_store: Store,
) -> None:
    candidates = CandidateSpace(finding("small", budget={"parameters": 150}), taught_store)
    least = {"parameters": min(shape.parameters for shape in candidates.shapes)}
    tight = CandidateSpace(finding("tight", budget=least), taught_store)
    assert default_shape(tight).parameters <= least["parameters"]


def default_space(candidates: CandidateSpace, **changes: Any) -> dict[str, Any]:
    """A space of which the default distillation is a point."""
    flow: Any = default_shape(candidates).flow
    fits = {"shape": {"depth": [flow.depth], "width": [flow.width, 4]}}
    return space(**{**fits, **changes})


def test_optuna_is_told_of_a_default_that_the_space_would_draw(taught_store: Store) -> None:
    outside = CandidateSpace(finding("outside"), taught_store)
    config = finding("inside", space=default_space(outside))
    candidates, found = first_of(config, taught_store)
    default = found[1]
    assert default.params is not None
    assert default.params["weights.samples.schedule"] == "cosine"
    study = optuna.create_study()
    study.enqueue_trial(default.params)
    drawn = candidates.draw(OptunaSuggester(study.ask()), default.candidate.training.name)
    assert drawn.training.objective == default.candidate.training.objective
    assert drawn.training.train == default.candidate.training.train
    assert first_points(candidates, found) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": {"depth": [1], "width": [4]}},
        {"learning_rate": {"low": 0.05, "high": 0.1}},
        {"warm_start": ["none"]},
        {"weights": {"nll": 1, "hints": {"low": 0.01, "high": 1}}},
    ],
)
def test_tpe_begins_from_the_point_that_is_most_like_the_default(
    taught_store: Store, changes: dict[str, Any]
) -> None:
    outside = CandidateSpace(finding("outside"), taught_store)
    inside = default_space(outside)
    config = finding("beside", space={**inside, **changes})
    candidates, found = first_of(config, taught_store)
    assert found[1].params is None
    [point] = first_points(candidates, found)
    study = optuna.create_study()
    study.enqueue_trial(point)
    training = candidates.draw(OptunaSuggester(study.ask())).training
    assert training.distillation is not None or "weights" in changes
    if training.distillation is not None:
        assert training.distillation.hints == ()
        assert "weights" in changes or training.distillation.weights.samples == Cosine(start=1.0)
    random = config.model_copy(update={"algorithm": "random"})
    assert first_points(CandidateSpace(random, taught_store), found) == []


def test_what_is_no_point_of_the_space_is_none_for_optuna(taught_store: Store) -> None:
    config = finding("told", space=space(warm_start=["none"]))
    candidates, found = first_of(config, taught_store)
    assert found[1].params is None
    first = [each.params or {} for each in found]
    searcher = CandidateSearcher(candidates, found, SearchRecords(taught_store, config.name), first)
    values = [searcher.suggest(name) for name in "abc"]
    assert [each["role"] for each in values] == ["plain", "default", None]
    for number, name in enumerate("abc"):
        searcher.on_trial_complete(name, {"step": 8, "bits_per_dim": 3.0 - number})
    plain, default, drawn = searcher._ot_study.trials
    assert (default.state, default.params) == (TrialState.FAIL, {})
    assert (drawn.state, drawn.value) == (TrialState.COMPLETE, 1.0)
    inside = found[0].params is not None  # the plain student, but for its shape
    assert (plain.state == TrialState.COMPLETE) == inside
    starts = [trial.start for trial in SearchRecords(taught_store, config.name).trials()]
    assert [start.role for start in starts] == ["plain", "default", None]
    assert starts[1].training == found[1].candidate.training.model_dump(mode="json")


def reported(scheduler: TrialScheduler, number: int, role: str | None, bits: float) -> str:
    """What a scheduler says of a trial that reports at the first rung."""
    trial: Any = SimpleNamespace(trial_id=str(number), config={"number": number, "role": role})
    scheduler.on_trial_add(SimpleNamespace(), trial)
    result = {"step": 2, "bits_per_dim": bits}
    return str(scheduler.on_trial_result(SimpleNamespace(), trial, result))


def test_no_baseline_is_stopped_early_and_others_are_held_against_it() -> None:
    halving = Halving(
        time_attr="step", metric="bits_per_dim", mode="min", max_t=8, grace_period=2,
        reduction_factor=2,
    )  # fmt: skip
    assert reported(halving, 0, "plain", 1.0) == TrialScheduler.CONTINUE
    assert reported(halving, 1, "default", 9.0) == TrialScheduler.CONTINUE
    assert reported(halving, 2, None, 6.0) == TrialScheduler.STOP
    assert reported(halving, 3, None, 0.5) == TrialScheduler.CONTINUE
    trial: Any = SimpleNamespace(trial_id="1", config={"number": 1, "role": "default"})
    last = {"step": 8, "bits_per_dim": 9.0}
    assert halving.on_trial_result(SimpleNamespace(), trial, last) == TrialScheduler.STOP


def test_no_baseline_is_part_of_a_population() -> None:
    config = searching(
        "population", algorithm="pbt",
        space={"weights": {"latent": {"low": 0.01, "high": 1}}, "learning_rate": 0.01},
    )  # fmt: skip
    population = pbt_scheduler(config)
    trial: Any = SimpleNamespace(trial_id="0", config={"member": {"number": 0, "role": "plain"}})
    population._trial_state[trial.trial_id] = None
    result = {"step": 8, "bits_per_dim": 9.0}
    assert population.on_trial_result(SimpleNamespace(), trial, result) == TrialScheduler.CONTINUE


def test_samples_at_every_step_go_with_no_cache() -> None:
    with pytest.raises(ValueError, match=r"cache\.kind: expected none for samples drawn at every"):
        searching("cached", samples={"rows": None}, cache={"kind": "memory"})
