"""What a search publishes: a student that passes every gate, and no other."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from flowkd.evaluation.figures import FlowFigures
from flowkd.store.store import Store
from flowkd.training.setup import run_in_process
from tests.support.searches import searching
from tests.support.small_runs import training
from tuning.config import FinalConfig
from tuning.final import judge, refusal
from tuning.records import SearchRecords

TEACHER = FlowFigures("runs/teacher", 3.0, 0.01, 1000, 10.0, 10.0, 100, 1e-6)
PLAIN = replace(TEACHER, reference="runs/plain", bits_per_dim=3.4)
DISTILLED = replace(TEACHER, reference="runs/distilled", bits_per_dim=3.2, round_trip=0.05)
FINAL = FinalConfig(model="walks", max_round_trip_error=0.1, throughput_seconds=0.02)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bits_per_dim": math.inf}, "not finite"),
        ({"bits_per_dim": math.nan}, "not finite"),
        ({"round_trip": 0.2}, "expected at most 0.1"),
        ({"round_trip": math.inf}, "expected at most 0.1"),
        ({"round_trip": math.nan}, "expected at most 0.1"),
        ({"bits_per_dim": 3.41}, "the plain student 3.4000"),
    ],
)
def test_what_fails_a_gate_is_refused(changes: dict[str, Any], said: str) -> None:
    figures = {"teacher": TEACHER, "plain": PLAIN, "distilled": DISTILLED}
    assert refusal(figures, FINAL) is None
    assert refusal({**figures, "distilled": replace(DISTILLED, bits_per_dim=3.4)}, FINAL) is None
    worse = {**figures, "distilled": replace(DISTILLED, **changes)}
    assert said in str(refusal(worse, FINAL))


def test_what_is_refused_is_not_published(taught_store: Store) -> None:
    long = {"steps": 60, "learning_rate": 0.01, "warmup_steps": 2, "ema_decay": 0.9}
    for name, train in (("short", {**long, "steps": 1}), ("long", long)):
        list(run_in_process(training(name, train=train), taught_store))
    config, records = searching("judged"), SearchRecords(taught_store, "judged")
    flows = {"teacher": "runs/teacher", "plain": "runs/long", "distilled": "runs/short"}
    worse = judge(config, FINAL, flows, records)
    assert "the plain student" in worse["refused"]
    exact = FINAL.model_copy(update={"max_round_trip_error": 1e-12})
    flows = {**flows, "plain": "runs/short", "distilled": "runs/long"}
    assert "from x to z and back" in judge(config, exact, flows, records)["refused"]
    assert worse["published"] is None
    assert taught_store.list("models") == []
    good = judge(config, FINAL, flows, records)
    assert (good["refused"], good["published"].split("@")[0]) == (None, "models/walks")
    assert len(taught_store.list("models", "walks")) > 0
