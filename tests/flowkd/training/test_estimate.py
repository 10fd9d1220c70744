"""How long a run takes is estimated for every kind of run, and grows with what it does."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flowkd.store.store import Store
from flowkd.training.estimate import estimated_seconds
from flowkd.training.resolve import resolve_run
from tests.support.small_runs import DISTILLATION, training

EVERY_TERM = {
    "nll": 1, "samples": 1, "density": 1, "latent": 1, "hints": 1, "log_det": 1, "synthesis": 1,
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "of classes": {"flow": {"kind": "coupling", "depth": 2, "width": 6}},
    "pictures": {"dataset": "pictures", "flow": {"kind": "glow", "levels": 1, "depth": 1}},
    "taught": {"objective": {**DISTILLATION, "weights": EVERY_TERM}},
    "taught, few samples": {
        "objective": {**DISTILLATION, "weights": EVERY_TERM, "samples": {"batch_size": 1}}
    },
    "by samples alone": {
        "dataset": "none",
        "objective": {
            "kind": "distillation",
            "teacher": "runs/teacher",
            "weights": {"nll": 0, "samples": 1},
            "samples": {"rows": None},
        },
    },
}


@pytest.mark.parametrize("name", RUNS)
def test_every_run_has_an_estimate_that_grows_with_its_steps(
    taught_store: Store, name: str
) -> None:
    few, many = (
        estimated_seconds(
            resolve_run(training("new", **RUNS[name], train=train), taught_store), 1e9
        )
        for train in ({"steps": 10, "warmup_steps": 2}, {"steps": 10**6, "warmup_steps": 2})
    )
    assert 0 < few < many


def test_samples_and_validation_count(taught_store: Store) -> None:
    def seconds(samples: int, rows: int) -> float:
        options = {
            "objective": {**RUNS["taught"]["objective"], "samples": {"rows": samples}},
            "validation_rows": rows,
        }
        return estimated_seconds(resolve_run(training("new", **options), taught_store), 1e9)

    assert seconds(10**8, 1) > 100 * seconds(1, 1)
    assert seconds(1, 10**8) > 100 * seconds(1, 1)


def test_a_run_that_ends_by_itself_is_not_taken_for_the_most_steps(taught_store: Store) -> None:
    auto, most = (
        estimated_seconds(
            resolve_run(
                training("new", train={"steps": steps, "learning_rate": 0.1}), taught_store
            ),
            1e9,
        )
        for steps in ("auto", 100_000)
    )
    assert auto < most / 4


def test_a_large_run_is_not_waited_for(taught_store: Store) -> None:
    config = training("new", batch_size=10**6, train={"steps": 10**6})
    began = time.perf_counter()
    assert estimated_seconds(resolve_run(config, taught_store), 20) >= 20
    whole = estimated_seconds(
        resolve_run(training("new", batch_size=8, train={"steps": 1}), taught_store), 1e9
    )
    assert time.perf_counter() - began < 10**6 / 8 * whole
