"""With nothing set, a run is the best that is known, and says what it chose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import yaml

from flowkd.data.manifest import read_manifest
from flowkd.distillation.objective import BEST_WEIGHTS, DistillationConfig
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow, count_parameters
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.choices.climb import FIRST_RATE, LEAST_RATE, MOST_RATE, climb
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.choices.default_flow import default_flow
from flowkd.training.choices.picture_size import LEAST_STEPS, Budget
from flowkd.training.choices.rate import with_rate
from flowkd.training.config import TrainingConfig
from flowkd.training.horizon import Horizon
from flowkd.training.inputs import load_data
from flowkd.training.logs.metrics import read_log
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from flowkd.training.train_config import PlateauConfig, TrainConfig
from tests.support.small_runs import DISTILLATION, TEACHER, prepared, training

UNSET = {"kind": "distillation", "teacher": "runs/teacher"}
SHORT = {"steps": 6, "learning_rate": 0.01, "warmup_steps": 2}
BUDGET = Budget(minutes=1e9, batch_size=8)
PLATEAU = {"first_cycle": 2, "growth": 2, "min_gain": 0.01, "patience": 1}


def test_a_distillation_with_nothing_set_is_the_best_recipe_known(taught_store: Store) -> None:
    config = training("student", flow=None, objective=UNSET, train=SHORT, log_every=2)
    run = resolve_run(config, taught_store)
    learns = run.config.distillation
    assert (learns.warm_start, learns.weights) == ("fold", BEST_WEIGHTS)
    teacher = load_artifact(taught_store, "runs/teacher").flow
    share = count_parameters(build_flow(run.flow)) / count_parameters(teacher)
    assert run.flow.kind == "coupling"
    assert 0.15 < share <= 0.25
    assert [note.partition(":")[0] for note in run.notes] == ["flow", "warm_start"]
    list(run_in_process(config, taught_store))
    kept = yaml.safe_load(taught_store.read("runs", "student", "resolved.yaml"))["config"]
    assert kept["objective"]["warm_start"] == "fold"
    assert kept["flow"]["width"] == run.flow.width
    assert "samples" in read_log(taught_store, "student")[0]


def test_a_student_that_cannot_begin_as_its_teacher_says_why(taught_store: Store) -> None:
    deeper = {**TEACHER, "depth": 4}
    run = resolve_run(training("student", flow=deeper, objective=UNSET), taught_store)
    assert run.config.distillation.warm_start == "none"
    assert run.source is None
    [note] = run.notes
    assert note.startswith("warm_start: none, because expected a student of at most its source's")


def test_a_distillation_that_would_learn_nothing_from_its_teacher_is_refused() -> None:
    with pytest.raises(ValueError, match="a training on data alone: leave one of them out"):
        DistillationConfig(teacher="runs/teacher", warm_start="none", weights={"nll": 1})


def test_without_data_the_samples_alone_are_learnt() -> None:
    config = TrainingConfig(name="a", dataset="none", flow=TEACHER, objective=UNSET)
    weights = config.distillation.weights.at(0.5)
    assert {name for name, weight in weights.items() if weight} == {"samples"}


def test_the_flow_is_chosen_by_the_data(taught_store: Store) -> None:
    table, pictures = (read_manifest(taught_store, name) for name in ("walks", "pictures"))
    flow, why, *_ = default_flow(table, BUDGET)
    assert (flow.kind, why) == ("coupling", "for 40 rows")
    glow = default_flow(pictures, BUDGET).flow
    assert (glow.kind, glow.levels) == ("glow", 2)
    larger = table.model_copy(
        update={"splits": {**table.splits, "train": table.splits["train"].model_copy(
            update={"rows": 60_000}
        )}}
    )  # fmt: skip
    assert default_flow(larger, BUDGET)[0].width > flow.width
    odd = pictures.model_copy(update={"event_shape": [1, 7, 8]})
    with pytest.raises(ConfigError, match="7 x 8 of data set 'pictures': import them in crops"):
        default_flow(odd, BUDGET)


def test_a_flow_of_pictures_is_the_largest_that_the_minutes_allow(taught_store: Store) -> None:
    pictures = read_manifest(taught_store, "pictures")
    sizes = {}
    for minutes in (1e-9, 1e9):
        budget = replace(BUDGET, minutes=minutes)
        flow, why, steps = default_flow(pictures, budget)
        sizes[minutes] = count_parameters(build_flow(complete_flow(flow, pictures)))
        enough = "may not suffice here" if steps == LEAST_STEPS else "suffice for here"
        assert f"{minutes:g} minutes {enough}" in why
        assert steps >= LEAST_STEPS
    assert sizes[1e-9] < sizes[1e9] / 20
    unset = training("pictured", dataset="pictures", flow=None)
    run = resolve_run(unset, taught_store)
    assert "about what 20 minutes suffice for here" in run.notes[0]
    assert run.config.train.most_steps == run.config.train.steps
    briefly = {"name": "ends", "minutes": 1e-9, "train": TrainConfig(steps="auto")}
    ends = resolve_run(unset.model_copy(update=briefly), taught_store)
    most = ends.config.train.most_steps
    assert f"at most {most:,} steps" in ends.notes[0]
    assert "for which 1e-09 minutes may not suffice here" in ends.notes[0]
    assert most == LEAST_STEPS < ends.config.train.steps
    horizon = Horizon(ends.config.train, ends.validate_every)
    while not horizon.found:
        horizon.validated(horizon.last, -horizon.last)
    assert horizon.last == most
    assert default_flow(pictures, replace(BUDGET, gpu=True))[0].width == 64


@pytest.mark.parametrize("best", [LEAST_RATE / 4, 0.0001, 0.0033, 0.02, MOST_RATE * 4])
def test_the_climb_finds_the_best_rate_between_its_bounds(best: float) -> None:
    def score(rate: float) -> float:
        return math.log2(rate / best) ** 2

    found, tried = climb(score)
    within = min(max(best, LEAST_RATE), MOST_RATE)
    assert found == pytest.approx(within, rel=0.06)
    assert len(tried) <= abs(math.log2(within / FIRST_RATE)) + 4


def test_the_climb_stays_below_rates_that_do_not_train() -> None:
    found, tried = climb(lambda rate: math.inf if rate > 0.01 else -rate)
    assert found == 0.008
    assert tried[0.016] == math.inf


def test_a_rate_is_found_once_for_all_runs_of_a_flow_on_the_same_data(taught_store: Store) -> None:
    found = {}
    for name, options in {
        "plain": {},
        "random": {"objective": {**UNSET, "warm_start": "none"}, "seed": 5},
        "folded": {"objective": {**UNSET, "warm_start": "fold"}},
        "again": {
            "objective": {
                **UNSET,
                "warm_start": "fold",
                "weights": {"nll": 1, "samples": 2},
                "samples": {"rows": 9},
            }
        },
        "other": {"batch_size": 4},
    }.items():
        list(run_in_process(training(name, train={**SHORT, "learning_rate": "find"}, **options),
                            taught_store))  # fmt: skip
        run = yaml.safe_load(taught_store.read("runs", name, "resolved.yaml"))
        found[name] = run["found_rate"]
        assert run["config"]["train"]["learning_rate"] == found[name]["learning_rate"]
    assert not found["plain"]["shared"]
    assert found["random"] == {**found["plain"], "shared": True}
    assert not found["folded"]["shared"]
    assert found["again"] == {**found["folded"], "shared": True}
    assert not found["other"]["shared"]
    lowest = min(found["plain"]["tried"].values())
    assert lowest < found["plain"]["tried"][f"{FIRST_RATE:g}"]


def test_a_rate_that_is_given_is_taken(taught_store: Store) -> None:
    run = resolve_run(training("given"), taught_store)
    assert with_rate(run, load_data(run, taught_store), taught_store) is run
    assert not taught_store.list("learning_rates")


def test_auto_steps_end_after_a_cycle_that_gains_too_little() -> None:
    assert TrainConfig(steps="auto", learning_rate=1.0).plateau is not None
    assert TrainConfig(steps=10, learning_rate=1.0).plateau is None
    config = TrainConfig(learning_rate=1.0, warmup_steps=4, plateau=PLATEAU)
    horizon = Horizon(config, validate_every=100)
    assert (horizon.last, horizon.learning_rate_at(0)) == (200, 0.2)
    for cycle, (began, last, bits) in enumerate(
        [(0, 200, 3.0), (200, 600, 2.8), (600, 1400, 2.795)]
    ):
        assert (horizon.began, horizon.last, horizon.found) == (began, last, False), cycle
        assert horizon.progress_at((began + last) // 2) == 0.5
        assert horizon.learning_rate_at(began + 4) == 1.0
        assert horizon.learning_rate_at(last) == pytest.approx(0.01)
        horizon.validated(began + 100, bits + 0.5)
        horizon.validated(last, bits)
    assert (horizon.last, horizon.found) == (1400, True)
    horizon.validated(1500, 1.0)
    assert horizon.last == 1400


def test_a_cycle_that_a_leap_of_the_loss_costs_ends_no_training() -> None:
    config = TrainConfig(learning_rate=1.0, plateau=PlateauConfig(first_cycle=1, min_gain=0.01))
    horizon = Horizon(config, validate_every=100)
    for bits in (3.0, 2.9, 2.95, 2.8, 2.8, 2.85):
        assert not horizon.ended
        horizon.validated(horizon.last, bits)
    assert (horizon.ended, horizon.last) == (True, 6300)


def test_no_training_ends_before_the_least_steps_or_after_the_most() -> None:
    def ended(gain: float, **changes: int) -> int:
        plateau = PlateauConfig.model_validate({**PLATEAU, **changes})
        horizon = Horizon(TrainConfig(steps=5000, learning_rate=1.0, plateau=plateau), 100)
        while not horizon.ended:
            horizon.validated(horizon.last, -gain * horizon.last)
        return horizon.last

    assert ended(0) == 600
    assert ended(0, least_steps=600) == 600
    assert ended(0, least_steps=601) == 1400
    assert ended(1) == 5000
    assert ended(1, most_steps=1500) == 1500  # no cycle of 100 after one of 800
    assert ended(1, most_steps=100) == 100


@pytest.mark.parametrize(
    "objective",
    [DISTILLATION, {"kind": "maximum_likelihood", "smaller_than": "runs/teacher"}],
    ids=["distilled", "plain"],
)
def test_a_student_takes_as_many_steps_as_its_teacher_did(
    objective: dict[str, Any], taught_store: Store
) -> None:
    taken = load_artifact(taught_store, "runs/teacher").metrics["steps"]
    config = training("one", objective=objective, train={"steps": "auto", "learning_rate": 0.01})
    run = resolve_run(config, taught_store)
    assert f"steps: {taken}, as many as runs/teacher took" in run.notes
    list(run_in_process(config, taught_store))
    assert load_artifact(taught_store, "runs/one").metrics["steps"] == taken
    horizon = Horizon(run.config.train, run.validate_every)
    assert (horizon.last, horizon.found) == (taken, True)


@pytest.mark.parametrize(
    "train",
    [{"steps": 3}, {"steps": "auto", "plateau": {"least_steps": 7}}],
    ids=["given", "bounded"],
)
def test_a_student_whose_config_says_how_many_takes_those(
    train: dict[str, Any], taught_store: Store
) -> None:
    run = resolve_run(training("own", objective=DISTILLATION, train=train), taught_store)
    assert not any("took" in note for note in run.notes)
    assert run.config.train == TrainConfig.model_validate(train)


def test_as_many_steps_are_expected_as_are_likely() -> None:
    assert TrainConfig(steps=10**6).likely_steps(200) == 10**6
    assert TrainConfig(steps="auto").likely_steps(200) == 31_000
    assert TrainConfig(steps=1000, plateau=PLATEAU).likely_steps(200) == 1000


def test_a_run_ends_by_itself_and_goes_on_from_a_checkpoint_of_its_last_cycle(
    taught_store: Store,
) -> None:
    train = {**SHORT, "steps": 400, "learning_rate": 0.02, "plateau": PLATEAU}
    whole, stopped = (
        prepared(training(name, train=train), taught_store) for name in ("whole", "stopped")
    )

    told = {"whole": [], "stopped": []}

    def curve(run, until=10**9):
        lines = []
        for result in run.steps():
            line = run.record(result)
            lines.append((result.step, result.loss))
            if "ends_at" in line:
                told[run.config.name].append((result.step, line["ends_at"]))
            if result.step >= until:
                break
        return lines

    expected = curve(whole)
    last, began = whole.horizon.last, whole.horizon.began
    assert 0 < began < last == expected[-1][0] < 400
    before = curve(stopped, until=began + 3)
    again = prepared(training("stopped", train=train), taught_store)
    again.load_state_dict(stopped.state_dict())
    assert before + curve(again) == expected
    assert {end for _, end in told["whole"]} == {last}
    assert told["stopped"] == told["whole"]
