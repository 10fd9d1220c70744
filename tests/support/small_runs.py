"""A small store to train in, and runs that the tests of their parts share."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import Worker, load_data
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import resolve_run
from flowkd.training.run import Run
from flowkd.training.setup import run_in_process

# The table has classes, which most tests of training have no use for.
STUDENT = {"kind": "coupling", "depth": 2, "width": 6, "context": "ignore"}
TEACHER = {"kind": "coupling", "depth": 3, "width": 8, "context": "ignore"}
DISTILLATION = {
    "kind": "distillation",
    "teacher": "runs/teacher",
    "warm_start": "none",
    "hints": [{"student": "step0", "teacher": "step1"}],
    "weights": {"nll": 0.7, "latent": 0.1, "hints": 0.1, "synthesis": 0.1},
}


def training(name: str, **options: Any) -> TrainingConfig:
    values = {
        "name": name,
        "dataset": "walks",
        "flow": STUDENT,
        "train": {"steps": 6, "learning_rate": 0.01, "warmup_steps": 2, "ema_decay": 0.9},
        "batch_size": 8,
        "validate_every": 2,
    }
    return TrainingConfig.model_validate({**values, **options})


def prepared(config: TrainingConfig, store: Store, rank: int = 0, world: int = 1) -> Run:
    """A run of a config, ready to begin."""
    run = resolve_run(config, store)
    return prepare_run(run, load_data(run, store), Worker(rank, world))


def furnish(store: Store) -> None:
    """Writes a table in four shards, pictures of 17 bins, and a finished teacher of the table."""
    splits = {name: walks(40, seed) for seed, name in enumerate(("train", "val", "test"))}
    x = splits["train"].x
    write_dataset(
        store, "walks", splits, kind="table", source="a test", classes=3,
        mean=x.mean(0), scale=x.std(0), shard_bytes=10 * 4 * 4,
    )  # fmt: skip
    pictures = SplitArrays(np.random.default_rng(0).integers(0, 17, (20, 1, 8, 8)).astype(np.uint8))
    write_dataset(
        store, "pictures", dict.fromkeys(("train", "val", "test"), pictures),
        kind="image", source="a test", bins=17,
    )  # fmt: skip
    list(run_in_process(training("teacher", flow=TEACHER), store))


def walks(count: int, seed: int) -> SplitArrays:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 4)).cumsum(1).astype(np.float32)
    return SplitArrays(x * 3 + 10, generator.integers(0, 3, count))
