"""The runs of a study: each row has one, in an order in which they can run."""

from __future__ import annotations

import pytest

from flowkd.distillation.objective import DistillationConfig
from flowkd.errors import ConfigError
from jobs.studies.plan import check_names, plan, rows
from tests.support.small_studies import CHOSEN, STUDY, study


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
