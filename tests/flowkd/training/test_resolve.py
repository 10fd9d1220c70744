"""A run is resolved once: what its references meant when it began is what they mean to its end."""

from __future__ import annotations

import pytest

from flowkd.errors import ConfigError, StoreError
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifact_manifest import versions
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.pins import load_pinned, pin_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.registry.removal import remove_version
from flowkd.store.store import Store
from flowkd.training.config import ScalingConfig
from flowkd.training.inputs import load_data
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import record_run, resolve_run
from flowkd.training.resolved import ResolvedRun
from flowkd.training.setup import run_in_process
from tests.support.small_runs import DISTILLATION, TEACHER, training

BEST = {**DISTILLATION, "teacher": "models/large@best"}


@pytest.fixture
def store(taught_store: Store) -> Store:
    """A store with two versions of a model; the alias `best` points at the first."""
    list(run_in_process(training("other", flow=TEACHER, seed=1), taught_store))
    for source in ("runs/other", "runs/teacher"):
        publish_run(PublishConfig(model="large", source=source, force=True), taught_store)
    return taught_store


def another(store: Store, reference: str) -> str:
    """The version of the model that a reference does not name."""
    return next(v for v in versions(store, "large") if not reference.endswith(v))


def test_a_teacher_is_the_version_that_its_alias_meant_when_the_run_began(store):
    config = training("student", objective=BEST)
    run = resolve_run(config, store)
    record_run(config, run, store)
    before = load_data(run, store).teacher.state_dict()
    other = another(store, run.teacher.reference)
    set_alias(store, "large", "best", other)
    again = resolve_run(config, store)
    assert again == run
    after = load_data(again, store).teacher.state_dict()
    assert all(before[name].equal(after[name]) for name in before)
    assert resolve_run(training("new", objective=BEST), store).teacher.reference.endswith(other)


def test_its_lineage_names_the_version_which_then_may_not_be_removed(store):
    config = training("student", objective=BEST)
    list(run_in_process(config, store))
    lineage = load_artifact(store, "runs/student").manifest.lineage
    assert lineage.teacher == pin_artifact(store, "models/large@best").reference
    set_alias(store, "large", "best", another(store, lineage.teacher))
    with pytest.raises(StoreError, match="is the teacher of runs/student"):
        remove_version(store, "large", lineage.teacher.split("@")[1])


@pytest.mark.parametrize("role", ["teacher", "source"])
def test_what_a_run_that_has_not_ended_learns_from_may_not_be_removed(store, role):
    objective = BEST
    if role == "source":
        objective = {**DISTILLATION, "warm_start": "fold", "warm_from": "models/large@best"}
    config = training("student", objective=objective)
    run = resolve_run(config, store)
    record_run(config, run, store)
    pinned = run.teacher if role == "teacher" else run.source
    set_alias(store, "large", "best", another(store, pinned.reference))
    with pytest.raises(StoreError, match=r"is what runs/student learns from, and has not ended"):
        remove_version(store, "large", pinned.reference.split("@")[1])


def test_a_source_to_begin_from_is_pinned_too(store):
    objective = {**DISTILLATION, "warm_start": "fold", "warm_from": "models/large@best"}
    run = resolve_run(training("student", objective=objective), store)
    assert run.source == pin_artifact(store, "models/large@best")
    assert run.config.distillation.warm_from == run.source.reference
    beside = resolve_run(training("beside", objective={**BEST, "warm_start": "fold"}), store)
    assert beside.source == beside.teacher
    data = load_data(beside, store)
    assert data.source is data.teacher


def test_a_teacher_that_was_trained_anew_is_not_taken_for_the_old_one(store):
    config = training("student", objective=DISTILLATION)
    run = resolve_run(config, store)
    store.remove("runs", "teacher")
    list(run_in_process(training("teacher", flow=TEACHER, seed=7), store))
    with pytest.raises(StoreError, match=r"runs/teacher .* expected weights of SHA-256 .* anew"):
        load_pinned(store, run.teacher)


def test_machines_may_change_between_attempts_and_nothing_else(store):
    config = training("student", objective=BEST)
    record_run(config, resolve_run(config, store), store)
    more = config.model_copy(update={"scaling": ScalingConfig(workers=2)})
    assert resolve_run(more, store).config.scaling.workers == 2
    longer = config.model_copy(update={"batch_size": 4})
    assert resolve_run(longer, store).config.batch_size == 4


def test_a_resolved_run_travels_as_text_and_asks_for_no_flow_again(store):
    run = resolve_run(training("student", objective=BEST), store)
    assert ResolvedRun.model_validate(run.model_dump(mode="json")) == run
    data = load_data(run, store)
    store.remove("models")
    assert next(prepare_run(run, data).steps()).step == 1


def test_a_config_that_does_not_fit_what_it_refers_to_is_refused_at_the_door(store):
    hints = [{"student": "step9", "teacher": "step0"}]
    with pytest.raises(ConfigError, match=r"run .student.: objective: .*no tap .step9."):
        resolve_run(training("student", objective={**BEST, "hints": hints}), store)
