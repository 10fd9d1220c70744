"""What outcomes decide: the learning rate, matched steps, and which runs can begin."""

from __future__ import annotations

import copy

from flowkd.store.store import Store
from jobs.studies.choices import advance, choose
from jobs.studies.outcomes import RunOutcome, record_failure
from jobs.studies.plan import plan
from tests.support.small_studies import CHOSEN, STUDY, ends, study


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
