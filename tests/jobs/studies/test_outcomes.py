"""How a run ended, as the store tells: a failure holds for its config, a result for its teacher."""

from __future__ import annotations

import pytest

from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.registry.artifacts import write_artifact
from flowkd.store.store import Store
from jobs.studies.choices import advance
from jobs.studies.outcomes import RunOutcome, find_outcome, record_failure
from jobs.studies.plan import plan
from tests.support.small_studies import CHOSEN, STUDY, study


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
