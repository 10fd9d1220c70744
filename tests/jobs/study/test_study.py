"""The pure parts of a study: its configuration, its plan, and what outcomes decide."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from flowkd.config import dump_config, parse_config
from flowkd.errors import ConfigError
from flowkd.flows.configs import CouplingConfig, build_flow
from flowkd.registry.artifacts import write_artifact
from flowkd.store.store import Store
from flowkd.training.config import DistillationConfig
from jobs.study.choices import advance, choose
from jobs.study.config import StudyConfig
from jobs.study.outcomes import RunOutcome, find_outcome, record_failure
from jobs.study.plan import check_names, plan, rows
from tests.support.small_studies import CHOSEN, STUDY, ends, study


def with_arm(name: str, **arm: Any) -> dict[str, Any]:
    return {"arms": {**STUDY["arms"], name: {"about": "an arm", **arm}}}


def test_a_study_that_was_dumped_is_read_back_equal() -> None:
    config = study()
    again = parse_config(StudyConfig, yaml.safe_load(dump_config(config)), source="again")
    assert again == config


def test_every_row_has_one_reported_run_and_names_are_unique() -> None:
    planned = plan(study(), CHOSEN)
    names = [run.config.name for run in planned]
    assert len(set(names)) == len(names)
    reported = [run.row for run in planned if run.reported]
    assert sorted(map(str, reported)) == sorted(map(str, rows(study())))
    count = {arm: [row.arm for row in rows(study())].count(arm) for arm in STUDY["arms"]}
    assert count == {"plain": 3, "best": 6, "stages": 2, "longer": 3, "matched": 3}


def test_needs_are_planned_before_and_the_teacher_is_the_one_of_the_seed() -> None:
    seen: set[str] = set()
    for run in plan(study(), CHOSEN):
        assert seen >= set(run.needs)
        seen.add(run.config.name)
        objective = run.config.objective
        if isinstance(objective, DistillationConfig):
            assert objective.teacher == f"runs/study-s-teacher-t{run.row.teacher_seed}"
            assert run.row.student_seed == run.config.seed
        else:
            assert not run.needs
            assert run.row.teacher_seed is None or run.row.arm == "teacher"


def test_before_the_learning_rate_is_chosen_teachers_and_candidates_alone_are_planned() -> None:
    assert {run.row.arm for run in plan(study())} == {"teacher", "plain"}
    rates = [run.config.train.learning_rate for run in plan(study()) if run.row.arm == "plain"]
    assert rates == [0.001, 0.01]


def test_every_student_has_the_chosen_learning_rate_and_its_steps() -> None:
    steps: dict[str, set[int]] = {}
    for run in plan(study(), CHOSEN):
        if run.row.arm != "teacher" and run.reported:
            assert run.config.train.learning_rate == 0.01
            steps.setdefault(run.row.arm, set()).add(run.config.train.steps)
    assert steps == {"plain": {100}, "best": {100}, "stages": {50}, "longer": {300}} | {
        "matched": {150}
    }


def test_an_arm_in_stages_begins_from_its_intermediate_flow() -> None:
    by_name = {run.config.name: run for run in plan(study(), CHOSEN)}
    first, last = by_name["study-s-stages-t1-intermediate-s6"], by_name["study-s-stages-t1-s6"]
    assert (first.reported, last.reported) == (False, True)
    assert last.needs == ("study-s-teacher-t1", first.config.name)
    assert isinstance(last.config.objective, DistillationConfig)
    assert isinstance(first.config.objective, DistillationConfig)
    assert last.config.objective.warm_from == f"runs/{first.config.name}"
    assert (first.config.flow.depth, last.config.flow.depth) == (3, 2)
    assert first.config.objective.warm_from is None


def test_teachers_of_another_study_are_the_same_runs() -> None:
    ours, theirs = plan(study(name="new", teachers_of="s")), plan(study())
    check_names([*ours, *theirs])
    assert ours[0].config == theirs[0].config
    other = {**STUDY["teacher"], "batch_size": 7}
    with pytest.raises(ConfigError, match=r"two runs are named 'study-s-teacher-t0'"):
        check_names([*plan(study(name="new", teachers_of="s", teacher=other)), *theirs])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"best": STUDY["arms"]["best"]}}, r"expected an arm 'plain' with nothing but"),
        (with_arm("plain", steps_factor=2), r"expected an arm 'plain' with nothing but"),
        (with_arm("teacher"), r"no arm 'teacher'"),
        ({"best": "nobody"}, r"best: expected an arm with an objective.*got 'nobody'"),
        ({"best": "plain"}, r"best: expected an arm with an objective.*got 'plain'"),
        (with_arm("x", cpu_matched_to="nobody"), r"arms.x.cpu_matched_to: .*'best'.*got 'nobody'"),
        (with_arm("x", cpu_matched_to="plain"), r"arms.x.cpu_matched_to: .*got 'plain'"),
        (with_arm("x", objective={"teacher": "runs/a"}), r"arms.x.objective: .*neither kind nor"),
        (with_arm("x", objective={"wieghts": {}}), r"arms.x.objective.wieghts: unknown key"),
        (with_arm("x", objective={}, seed_pairs=[[0, 9]]), r"arms.x.seed_pairs: .*got \[0, 9\]"),
        (with_arm("x", objective={}, seed_pairs=[[0, 5], [0, 5]]), r"arms.x.seed_pairs: .*once"),
        (with_arm("x", seed_pairs=[[0, 5]]), r"arms.x: .*expected an objective beside them"),
        (
            with_arm("x", objective={}, intermediate=STUDY["student"]["flow"]),
            r"arms.x: .*expected objective.warm_start other than none",
        ),
        (
            with_arm("x", cpu_matched_to="best", steps_factor=2),
            r"cpu_matched_to or steps_factor; got both",
        ),
        (with_arm("x", cpu_matched_to="best", objective={}), r"expected no objective beside it"),
        ({"student_seeds": [1, 1]}, r"student_seeds: expected each once; got \[1, 1\]"),
        ({"learning_rates": []}, r"learning_rates: .*at least 1 item"),
        ({"name": "a/b"}, r"name: String should match"),
    ],
)
def test_a_study_that_cannot_be_is_refused_with_what_is_expected(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        study(**changes)


def all_ends(**by_arm: RunOutcome) -> dict[str, RunOutcome]:
    """Outcomes of every run, as its arm's; the learning rate 0.01 is the better one."""
    found = {
        run.config.name: by_arm.get(run.row.arm, ends())
        for run in plan(study(), CHOSEN)
        if run.row.arm != "matched"
    }
    found["study-s-plain-lr0.001-s5"] = ends(validation=3.5, seconds=1000.0)
    return found


def test_the_learning_rate_of_the_best_validation_is_chosen(memory_store: Store) -> None:
    found = {"study-s-plain-lr0.001-s5": ends(3.1)}
    assert choose(study(), found, memory_store).learning_rate is None
    found["study-s-plain-lr0.01-s5"] = ends(3.0)
    assert choose(study(), found, memory_store).learning_rate == 0.01
    found["study-s-plain-lr0.01-s5"] = RunOutcome(failed="diverged")
    assert choose(study(), found, memory_store).learning_rate == 0.001
    found["study-s-plain-lr0.001-s5"] = RunOutcome(failed="diverged")
    assert choose(study(), found, memory_store).learning_rate is None


def test_matched_steps_are_what_the_other_arms_cpu_seconds_pay_for_and_stay_so(
    memory_store: Store,
) -> None:
    found = all_ends(plain=ends(seconds=10), best=ends(seconds=25))
    without = dict(found)
    del without["study-s-best-t1-s7"]
    assert choose(study(), without, memory_store).steps == {}
    assert choose(study(), found, memory_store).steps == {"matched": 250}
    dearer = all_ends(plain=ends(seconds=10), best=ends(seconds=99))
    assert choose(study(), dearer, memory_store).steps == {"matched": 250}
    other = copy.deepcopy(STUDY["arms"])
    other["best"]["objective"] = {"warm_start": "inherit"}
    assert choose(study(arms=other), dearer, memory_store).steps == {"matched": 990}


def test_a_failed_teacher_fails_its_students_and_no_others(memory_store: Store) -> None:
    config = study(teacher_seeds=[0], arms={**STUDY["arms"], "stages": STUDY["arms"]["best"]})
    for run in plan(config):
        if run.row.arm == "teacher":
            record_failure(memory_store, run.config, "step 3: nll is nan")
    outcomes: dict[str, RunOutcome] = {}
    ready = advance([config], memory_store, outcomes)
    assert {run.row.arm for run in ready} == {"plain"}
    outcomes |= {run.config.name: ends() for run in ready}
    ready = advance([config], memory_store, outcomes)
    assert {run.row.arm for run in ready} == {"plain", "longer"}
    assert outcomes["study-s-best-t0-s5"].failed == "it needs study-s-teacher-t0, which failed"


def test_a_recorded_failure_does_not_hold_for_another_config(memory_store: Store) -> None:
    first = plan(study())[0]
    record_failure(memory_store, first.config, "step 3: nll is nan")
    outcomes: dict[str, RunOutcome] = {}
    advance([study()], memory_store, outcomes)
    assert outcomes == {first.config.name: RunOutcome(failed="step 3: nll is nan")}
    outcomes = {}
    advance([study(teacher={**STUDY["teacher"], "batch_size": 3})], memory_store, outcomes)
    assert outcomes == {}


def test_a_run_that_is_older_than_its_teacher_is_refused(memory_store: Store) -> None:
    run = next(run for run in plan(study(), CHOSEN) if run.row.arm == "best")
    shape = CouplingConfig(event_shape=(2,), mean=0.0, scale=1.0, depth=1, width=2)
    write_artifact(
        memory_store,
        f"runs/{run.config.name}/result",
        build_flow(shape),
        shape,
        training=run.config.model_dump(mode="json"),
        metrics={"validation_bits_per_dim": 3.0, "seconds": 7.0},
    )
    (teacher,) = run.needs
    found = find_outcome(memory_store, run, {teacher: RunOutcome(created="2000-01-01")})
    assert found is not None
    assert (found.validation, found.cpu_seconds, found.failed) == (3.0, 7.0, None)
    with pytest.raises(ConfigError, match=f"older than {teacher}, .* --replace"):
        find_outcome(memory_store, run, {teacher: RunOutcome(created="9999-01-01")})
