"""make bench-tuning: a search beside random search and fixed weights, and what it costs.

All three train students of the same shape, of the quickstart's teacher on the quickstart's photos,
for the same number of optimiser steps in all, with three seeds each.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.tuning_page import (
    BUDGET,
    SEEDS,
    STEPS,
    TRIALS,
    Point,
    best_by_steps,
    sentence,
    value_at,
)
from cluster.local import connect, disconnect, down, up
from cluster.storage import StorageConfig
from flowkd.config import load_config
from flowkd.data.importers.prepare import PrepareConfig, prepare
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.config import ScalingConfig, TrainingConfig
from flowkd.training.setup import run_in_process
from jobs.workflow.config import WorkflowConfig, stages
from tuning.config import SearchConfig
from tuning.records import SearchRecords
from tuning.search import search

RESULTS = Path("results/bench-tuning.json")
QUICKSTART = Path("jobs/configs/quickstart/quickstart.yaml")
LONG_STEPS, LONG_TRIALS, AT_ONCE = 1500, 4, 2  # for the overhead
RATE = {"low": 0.001, "high": 0.02}
FULL = {
    "hints": {"max_hints": 4, "normalize": [True, False]},
    "weights": {
        "nll": 1,
        "samples": {"low": 0.1, "high": 1, "optional": True, "schedules": ["constant", "cosine"]},
        "latent": {"low": 0.001, "high": 1, "optional": True, "schedules": ["constant", "cosine"]},
        "hints": {"low": 0.001, "high": 1, "schedules": ["constant", "cosine"]},
    },
    "warm_start": ["fold", "inherit", "none"],
    "learning_rate": RATE,
}
PAPER = {"weights": {"nll": 0.9, "latent": 0.1}, "learning_rate": RATE}
WAYS: dict[str, dict[str, Any]] = {
    "TPE and ASHA": {
        "space": FULL, "algorithm": "tpe", "trials": 22,
        "stopping": {"grace_period": 0.2, "reduction_factor": 3},
    },
    "random search": {"space": FULL, "algorithm": "random", "trials": TRIALS, "stopping": None},
    "paper's weights": {"space": PAPER, "algorithm": "random", "trials": TRIALS, "stopping": None},
}  # fmt: skip


def main() -> None:
    """Runs all searches and writes `results/bench-tuning.json`."""
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="flowkd-bench-") as folder:
        storage = StorageConfig(uri=folder)
        teacher = _teacher(storage.store())
        record = Path(folder, "cluster.json")
        os.environ["RAY_ADDRESS"] = up(record=record).address  # not one that runs already
        connect()
        try:
            curves = {way: [_curve(way, seed, storage) for seed in SEEDS] for way in WAYS}
            overhead = _overhead(storage)
        finally:
            disconnect()
            down(record=record)
    results = {
        "teacher_bits_per_dim": teacher,
        "curves": {
            way: [[vars(point) for point in curve] for curve in found]
            for way, found in curves.items()
        },
        "overhead": overhead,
        "seconds": round(time.perf_counter() - began),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(sentence(results))


def _teacher(store: Store) -> float:
    found = stages(load_config(WorkflowConfig, QUICKSTART))
    data, config = found["data"][1], found["teacher"][1]
    assert isinstance(data, PrepareConfig)
    assert isinstance(config, TrainingConfig)
    prepare(data.root, store)
    for _ in run_in_process(config.model_copy(update={"scaling": ScalingConfig()}), store):
        pass
    metrics = load_artifact(store, f"runs/{config.name}").metrics
    return float(metrics["validation_bits_per_dim"])


def search_config(name: str, **changes: Any) -> SearchConfig:
    """Returns a search of the quickstart's student, 300 steps a trial, with changes."""
    student = stages(load_config(WorkflowConfig, QUICKSTART))["distilled"][1]
    assert isinstance(student, TrainingConfig)
    assert student.flow is not None
    values = {
        "name": name,
        "teacher": "runs/quickstart-teacher",
        "dataset": student.dataset,
        "student": student.flow.model_dump(),
        "budget": {"parameters_share": 0.25},
        "train": {**student.train.model_dump(), "steps": STEPS, "warmup_steps": 50},
        "batch_size": student.batch_size,
        "validation_rows": student.validation_rows,
        "validate_every": STEPS // 10,
        "max_concurrent_trials": AT_ONCE,
    }
    return SearchConfig.model_validate({**values, **changes})


def _curve(way: str, seed: int, storage: StorageConfig) -> list[Point]:
    name = f"{way.replace(' ', '-').replace(chr(39), '')}-{seed}"
    search(search_config(name, seed=seed, **WAYS[way]), storage)
    curve = best_by_steps(SearchRecords(storage.store(), name).trials())
    print(f"{way}, seed {seed}: {value_at(curve, BUDGET):.4f} bits/dim", flush=True)
    return curve


def _overhead(storage: StorageConfig) -> dict[str, Any]:
    """Returns how much longer a search takes than its trials, which all take equally long."""
    rate = {"learning_rate": {"low": 0.003, "high": 0.004}}
    train = {**search_config("any", space=PAPER).train.model_dump(), "steps": LONG_STEPS}
    config = search_config(
        "long", space=rate, train=train, validate_every=LONG_STEPS // 10, algorithm="random",
        trials=LONG_TRIALS, stopping=None,
    )  # fmt: skip
    began = time.perf_counter()
    search(config, storage)
    wall = time.perf_counter() - began
    trials = SearchRecords(storage.store(), "long").trials()
    pure = [trial.end.seconds for trial in trials if trial.end]
    return {
        "trials": len(pure),
        "at_once": AT_ONCE,
        "seconds_of_a_trial": fmean(pure),
        "wall_seconds": wall,
        "ratio": wall / (sum(pure) / AT_ONCE),
    }


if __name__ == "__main__":
    main()
