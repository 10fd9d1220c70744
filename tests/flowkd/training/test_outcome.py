"""A run says which weights it keeps, and warns once its validation has risen since."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flowkd.registry.artifact_manifest import read_artifact_manifest
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.logs.metrics import read_log
from flowkd.training.loop import StepResult
from flowkd.training.outcome import RISE, summary_of, warning_of
from flowkd.training.runs import run_state
from flowkd.training.setup import run_in_process
from tests.support.small_runs import STUDENT, prepared, training

HASTY = {
    "steps": 40, "learning_rate": 0.05, "warmup_steps": 0, "ema_decay": 0.0, "schedule": "constant",
}  # fmt: skip


def overfit(store: Store) -> list[dict[str, Any]]:
    flow = {**STUDENT, "width": 32}
    list(run_in_process(training("hasty", train=HASTY, train_rows=8, flow=flow), store))
    return read_log(store, "hasty")


def test_a_run_that_overfits_says_so_in_its_log_and_in_its_card(taught_store: Store) -> None:
    log = overfit(taught_store)
    judged = [line for line in log if "validation_bits_per_dim" in line]
    best = min(judged, key=lambda line: line["validation_bits_per_dim"])
    assert best["step"] < 40
    for line in judged:
        known = [each for each in judged if each["step"] <= line["step"]]
        least = min(each["validation_bits_per_dim"] for each in known)
        assert ("warning" in line) == (line["validation_bits_per_dim"] > least + RISE)
    artifact = load_artifact(taught_store, "runs/hasty")
    assert artifact.metrics["best_step"] == best["step"]
    low, high = (line["validation_bits_per_dim"] for line in (best, judged[-1]))
    said = f"risen from {low:.3f} bits/dim after step {best['step']} to {high:.3f} after 40"
    folder = "runs/hasty/result"
    manifest = read_artifact_manifest(taught_store, folder)
    card = taught_store.read(manifest.part(folder, "README.md")).decode()
    for text in (judged[-1]["warning"], artifact.manifest.remarks[0], card):
        assert said in text
    learns = {"kind": "distillation", "teacher": "runs/hasty"}
    list(run_in_process(training("taught", objective=learns), taught_store))
    student = load_artifact(taught_store, "runs/taught")
    assert f"Of its teacher: {artifact.manifest.remarks[0]}" in student.manifest.remarks
    kept, warning = summary_of(log)
    assert kept == f"the weights of step {best['step']} of 40 are kept, at {low:.3f} bits/dim"
    assert warning == judged[-1]["warning"]
    state = run_state(taught_store, "hasty")
    assert (state.best_step, state.warning) == (best["step"], warning)


def test_a_run_that_still_learns_warns_of_nothing(taught_store: Store) -> None:
    slow = {"steps": 6, "learning_rate": 0.001, "warmup_steps": 0, "ema_decay": 0.0}
    list(run_in_process(training("slow", train=slow), taught_store))
    log = read_log(taught_store, "slow")
    assert not any("warning" in line for line in log)
    artifact = load_artifact(taught_store, "runs/slow")
    assert artifact.manifest.remarks == []
    assert len(summary_of(log)) == 1
    assert summary_of([]) == []


def test_a_flow_that_stops_undoing_itself_is_warned_of_at_its_next_validation(
    taught_store: Store,
) -> None:
    run = prepared(training("bent"), taught_store)
    for result in run.steps():
        if result.step == 6:
            with torch.no_grad():
                for name, value in run.average.flow.named_parameters():
                    if name.endswith("log_diagonal"):
                        value[:2] = torch.tensor([12.0, -12.0])
        line = run.record(result)
        if "round_trip_error" in line:
            bent = result.step == 6
            assert (line["round_trip_error"] > 0.01) == bent
            assert ("off by" in line.get("warning", "")) == bent


def test_workers_find_the_same_error_after_a_round_trip(taught_store: Store) -> None:
    errors, rows = [], []
    for rank in range(2):
        run = prepared(training("shared"), taught_store, rank=rank, world=2)
        run.step = 2
        rows.append(run.inputs.probe.x)
        errors.append(run.record(StepResult(2, torch.zeros(2), (), 0.0, 0.0))["round_trip_error"])
    assert errors[0] == errors[1] > 0
    assert torch.equal(*rows)
    assert len(rows[0]) == 40


@pytest.mark.parametrize(
    ("bits", "error", "said"),
    [
        (2.0 + RISE, 0.01, None),
        (2.1, 0.01, "risen from 2.000 bits/dim after step 5 to 2.100 after 9"),
        (2.0, 0.02, "off by 2.0e-02"),
        (2.0, float("inf"), "off by inf"),
        (2.1, 0.02, "fewer steps; after a round trip"),
    ],
)
def test_a_warning_names_what_is_wrong(bits: float, error: float, said: str | None) -> None:
    found = warning_of(9, bits, 5, 2.0, error)
    assert said in found if found is not None else said is None
