"""A finished run that is to have more steps goes on from its end, as if it had always had them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from flowkd.errors import ConfigError
from flowkd.registry.artifact_manifest import read_metrics
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import BEGUN
from flowkd.training.config import TrainingConfig
from flowkd.training.growth import check_growth, growth_note, is_finished, with_steps
from flowkd.training.lease import take
from flowkd.training.logs.metrics import read_log
from flowkd.training.outcome import summary_of
from flowkd.training.resolve import record_run, resolve_run
from flowkd.training.run import Run
from flowkd.training.runs import run_state
from flowkd.training.setup import run_in_process
from tests.support.small_runs import DISTILLATION, prepared, training

# The last validation of 5 steps is none of a run of 9.
CONSTANT = {
    "steps": 5, "learning_rate": 0.05, "warmup_steps": 2, "ema_decay": 0.0, "schedule": "constant",
}  # fmt: skip
SAMPLES = {
    **DISTILLATION,
    "hints": [],
    "weights": {"nll": 0.5, "samples": 0.5, "synthesis": 0.1},
    "samples": {"rows": None},
}


def grown(config: TrainingConfig, steps: int, store: Store) -> Run:
    """A run of a config that has ended, and then gone on to more steps."""
    short = prepared(config, store)
    through(short)
    state = copy.deepcopy(short.state_dict())
    longer = prepared(with_steps(config, steps), store)
    longer.load_state_dict(state)
    through(longer)
    return longer


def through(run: Run) -> None:
    for result in run.steps():
        run.record(result)


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [path]
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return [each for key in one for each in differences(one[key], other[key], f"{path}.{key}")]
    return [] if one == other else [path]


@pytest.mark.parametrize("objective", [{}, DISTILLATION, SAMPLES], ids=["nll", "hints", "samples"])
@pytest.mark.parametrize("steps", [8, 9])
def test_its_result_is_bitwise_that_of_so_many_steps_from_the_beginning(
    taught_store: Store, objective: dict[str, Any], steps: int
) -> None:
    options = {"objective": objective} if objective else {}
    config = training("short", train=CONSTANT, validate_every=4, **options)
    longer = grown(config, steps, taught_store)
    straight = prepared(with_steps(config, steps), taught_store)
    through(straight)
    assert differences(longer.state_dict(), straight.state_dict()) == []


def test_what_its_log_says_it_keeps_is_what_it_keeps() -> None:
    line = {"round_trip_error": 0.0}
    log = [
        {"step": 4, "validation_bits_per_dim": 2.0, **line},
        {"step": 5, "validation_bits_per_dim": 1.0, "at_end": True, **line},
    ]
    assert "step 5 of 5" in summary_of(log)[0]
    log += [{"step": 8, "validation_bits_per_dim": 1.5, **line}]
    assert "step 8 of 8" in summary_of(log)[0]


def keep_a_checkpoint(store: Store) -> None:
    """Lets a run have a checkpoint, as its last holder leaves it."""
    folder = "runs/run/checkpoints/00000001"
    store.write(b"", folder, "checkpoint_1", "state.pt")
    store.write(b"", folder, BEGUN)


def test_a_finished_run_alone_may_grow_and_never_shrinks(taught_store: Store) -> None:
    config = training("run", train=CONSTANT, validate_every=4)
    steps = run_in_process(config, taught_store)
    next(steps)
    for wanted, message in (
        (9, "it is not finished with its 5 steps, and can grow to 9 once it is: let it end first"),
        (3, "expected at least the 5 that it was begun with; got 3: choose another name"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_growth(config, wanted, taught_store)
    list(steps)
    assert is_finished(taught_store, config)
    assert not is_finished(taught_store, with_steps(config, 9))
    with pytest.raises(ConfigError, match="it keeps no checkpoint of its end"):
        check_growth(config, 9, taught_store)
    keep_a_checkpoint(taught_store)
    check_growth(config, 9, taught_store)
    check_growth(config, 5, taught_store)


def test_who_learns_from_its_result_keeps_it_from_growing(taught_store: Store) -> None:
    teacher = training("run", train=CONSTANT, validate_every=4)
    list(run_in_process(teacher, taught_store))
    keep_a_checkpoint(taught_store)
    student = training("student", objective={"kind": "distillation", "teacher": "runs/run"})
    record_run(student, resolve_run(student, taught_store), taught_store)
    with pytest.raises(ConfigError, match="student learns from its result as it is now"):
        check_growth(teacher, 9, taught_store)
    list(run_in_process(student, taught_store))
    check_growth(teacher, 9, taught_store)


def test_it_keeps_what_it_resolved_and_its_result_until_there_is_a_longer_one(
    taught_store: Store,
) -> None:
    config = training("run", train=CONSTANT, validate_every=4)
    list(run_in_process(config, taught_store))
    longer = with_steps(config, 9)
    resolved = resolve_run(longer, taught_store)
    assert resolved.config.train.steps == 9
    record_run(longer, resolved, taught_store)
    assert run_state(taught_store, "run").state == "unfinished"
    assert taught_store.exists("runs", "run", "result", "manifest.json")
    run = prepared(longer, taught_store)
    through(run)
    run.finish(taught_store, 1.0, take(taught_store, "run", 9))
    assert run_state(taught_store, "run").state == "finished"
    assert read_metrics(taught_store, "runs/run/result")["steps"] == 9
    assert len(read_log(taught_store, "run")) >= 1


def test_what_depends_on_the_number_of_steps_is_said(taught_store: Store) -> None:
    config = training("run", train=CONSTANT, validate_every=4)
    list(run_in_process(config, taught_store))
    assert growth_note(config, taught_store) is None
    assert growth_note(with_steps(config, 9), taught_store) == (
        "run 'run' goes on from step 5 to 9: its result will be that of so many steps from the "
        "beginning"
    )
    weights = {"nll": 1, "latent": {"kind": "cosine", "start": 1}}
    objective = {**DISTILLATION, "weights": weights, "hints": []}
    cosine = {**CONSTANT, "schedule": "cosine"}
    scheduled = training("run", train={**cosine, "steps": 9}, objective=objective)
    assert growth_note(scheduled, taught_store) == (
        "run 'run' goes on from step 5 to 9, from here on by the schedule of 9 steps "
        "(train.schedule: cosine, objective.weights.latent): its result will not be that of so "
        "many steps from the beginning"
    )
