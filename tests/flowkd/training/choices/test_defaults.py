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
from flowkd.training.choices.picture_size import Budget
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
PLATEAU = {"patience": 2, "min_gain": 0.01, "decay_share": 0.5}


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
    flow, why = default_flow(table, BUDGET)
    assert (flow.kind, why) == ("coupling", "for 40 rows")
    glow, _ = default_flow(pictures, BUDGET)
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
        flow, why = default_flow(pictures, budget)
        sizes[minutes] = count_parameters(build_flow(complete_flow(flow, pictures)))
        assert f"minutes of training here, of {minutes:g} that it may" in why
    assert sizes[1e-9] < sizes[1e9] / 20
    unset = training("pictured", dataset="pictures", flow=None)
    [note] = resolve_run(unset, taught_store).notes
    assert "minutes of training here, of 20 that it may" in note
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


def test_auto_steps_end_after_a_plateau() -> None:
    config = TrainConfig(learning_rate=1.0, warmup_steps=4, plateau=PLATEAU)
    assert TrainConfig(steps="auto", learning_rate=1.0).plateau is not None
    assert TrainConfig(steps=10, learning_rate=1.0).plateau is None
    horizon = Horizon(config)
    assert horizon.learning_rate_at(0) == 0.2
    for step, bits in ((100, 3.0), (200, 2.9), (300, 2.895), (400, 2.85), (500, 2.849)):
        assert not horizon.reached(step, bits)
        assert (horizon.learning_rate_at(step), horizon.progress_at(step)) == (1.0, 0.0)
    assert horizon.reached(600, 2.86)
    assert horizon.last == 900
    assert horizon.progress_at(750) == 0.5
    assert horizon.learning_rate_at(750) == pytest.approx(0.505)
    assert horizon.learning_rate_at(900) == pytest.approx(0.01)
    assert not horizon.reached(700, 9.9)


def test_a_plateau_comes_no_earlier_than_the_least_steps_allow() -> None:
    plateau = PlateauConfig.model_validate({**PLATEAU, "least_steps": 600})
    horizon = Horizon(TrainConfig(learning_rate=1.0, plateau=plateau))
    flat = [horizon.reached(step, 3.0) for step in (100, 200, 300, 400)]
    assert flat == [False, False, False, True]
    assert horizon.last == 600
    short = TrainConfig(steps=300, plateau=plateau)
    assert (short.least_steps, short.likely_steps(1)) == (300, 300)
    assert TrainConfig(plateau=plateau).likely_steps(1) == 600


@pytest.mark.parametrize(
    "objective",
    [DISTILLATION, {"kind": "maximum_likelihood", "smaller_than": "runs/teacher"}],
    ids=["distilled", "plain"],
)
def test_a_student_takes_no_fewer_steps_than_its_teacher_did(
    objective: dict[str, Any], taught_store: Store
) -> None:
    taken = load_artifact(taught_store, "runs/teacher").metrics["steps"]
    run = resolve_run(training("one", objective=objective, train={"steps": "auto"}), taught_store)
    assert run.config.train.least_steps == taken
    assert f"steps: at least {taken}, as many as runs/teacher took" in run.notes
    asked = {"steps": "auto", "plateau": {"least_steps": 7}}
    own = resolve_run(training("own", objective=objective, train=asked), taught_store)
    assert own.config.train.least_steps == 7
    fixed = resolve_run(training("fixed", objective=objective, train={"steps": 3}), taught_store)
    assert fixed.config.train.plateau is None
    alone = resolve_run(training("alone", train={"steps": "auto"}), taught_store)
    assert alone.config.train.least_steps == 1


def test_as_many_steps_are_expected_as_are_likely() -> None:
    assert TrainConfig(steps=10**6).likely_steps(200) == 10**6
    assert TrainConfig(steps="auto").likely_steps(200) == 5600
    assert TrainConfig(steps=1000, plateau=PLATEAU).likely_steps(200) == 1000


def test_a_training_that_recovers_from_a_leap_of_its_loss_is_at_no_plateau() -> None:
    horizon = Horizon(TrainConfig(learning_rate=1.0, plateau=PLATEAU))
    leap = [3.0, 2.9, 3.3, 3.2, 3.05, 2.95, 2.85]
    assert not any(horizon.reached(100 * n, bits) for n, bits in enumerate(leap, start=1))
    assert (horizon.waited, horizon.gained) == (0, 2.85)
    rising = [2.86, 2.9]
    assert [horizon.reached(800 + 100 * n, bits) for n, bits in enumerate(rising)] == [False, True]


def test_a_training_without_plateau_ends_with_its_fall_at_the_most_steps() -> None:
    horizon = Horizon(TrainConfig(steps=90, learning_rate=1.0, plateau=PLATEAU))
    assert not horizon.reached(50, 3.0)
    assert horizon.reached(60, 2.0)
    assert horizon.last == 90


def test_a_run_ends_by_itself_and_goes_on_from_a_checkpoint_of_its_fall(
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
    last = expected[-1][0]
    assert 10 < last < 400
    assert last == whole.horizon.last == math.ceil(1.5 * whole.horizon.falls_from)
    before = curve(stopped, until=last - 3)
    again = prepared(training("stopped", train=train), taught_store)
    again.load_state_dict(stopped.state_dict())
    assert before + curve(again) == expected
    falls = whole.horizon.falls_from
    assert {end for _, end in told["whole"]} == {last}
    assert min(step for step, _ in told["whole"]) == falls
    assert told["stopped"] == told["whole"]
