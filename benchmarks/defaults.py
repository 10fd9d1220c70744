"""make bench-defaults: what a flow of a small table is with nothing set, beside a Gaussian.

Real tables of scikit-learn, as CSV without their targets, looked at and imported as `flowkd new`
does. Of each, three splits: a Gaussian of the training rows, a flow without regularisation, and
the default. The test rows of the splits are pooled.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import datasets

from benchmarks.default_families import compare
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.gaussian import Gaussian
from flowkd.data.importers.prepare import PrepareConfig, prepare
from flowkd.data.manifest import Manifest
from flowkd.data.reading import load_split
from flowkd.evaluation.intervals import GroupBits, Interval, difference, mean_of
from flowkd.evaluation.metrics import EVALUATION_SEED, evaluate_likelihood
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.setup import run_in_process
from jobs.workflow.look_table import look_at_table

RESULTS = Path("results/bench-defaults.json")
TABLES = ("iris", "wine", "diabetes", "breast_cancer")
SEEDS = (0, 1, 2)
WAYS: dict[str, dict[str, Any]] = {
    "before": {
        "flow": {"kind": "coupling", "depth": 4, "width": 32},
        "validate_every": 200,
        "train": {"weight_decay": 0, "plateau": {"growth": 1}},
    },
    "now": {},
}


def main(names: list[str]) -> None:
    """Measures the named tables and `families`, or all; writes `results/bench-defaults.json`."""
    torch.set_num_threads(1)
    outcome: dict[str, Any] = {"tables": {}, "families": []}
    if RESULTS.exists():  # what is not measured again stays
        outcome |= json.loads(RESULTS.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="flowkd-bench-") as folder:
        if not names or "families" in names:
            outcome["families"] = compare(Path(folder))
        for name in [name for name in names or TABLES if name != "families"]:
            outcome["tables"][name] = measure(name, Path(folder))
            print(json.dumps({name: outcome["tables"][name]}, indent=2), flush=True)
    outcome |= {
        "machine": f"1 thread of {os.cpu_count()}, {platform.machine()}",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")


def measure(name: str, folder: Path) -> dict[str, Any]:
    """Returns the figures of one table."""
    path = _csv(name, folder)
    look = look_at_table(str(path), name, {})
    assert isinstance(look.data, dict)
    store = Store(str(folder / "store"))
    gaussians: list[GroupBits] = []
    flows: dict[str, list[GroupBits]] = {way: [] for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    worse: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in SEEDS:
        data = {**look.data, "name": f"{name}-{seed}", "seed": seed}
        manifest = prepare(PrepareConfig.model_validate(data).root, store)
        judged = _gaussian(store, manifest, "val").mean
        gaussians.append(_gaussian(store, manifest, "test"))
        for way, settings in WAYS.items():
            began = time.process_time()
            run = f"{manifest.name}-{way}"
            config = {"name": run, "dataset": manifest.name, "seed": seed, **settings}
            for _ in run_in_process(TrainingConfig.model_validate(config), store):
                pass
            seconds[way].append(time.process_time() - began)
            made = load_artifact(store, f"runs/{run}")
            rows = load_split(store, manifest, "test")
            flows[way].append(evaluate_likelihood(made.flow, rows, manifest.bins).by_group)
            over = made.metrics["validation_bits_per_dim"] - judged
            worse[way].append(over)
    gaussian = GroupBits.pool(gaussians)
    pooled = {way: GroupBits.pool(found) for way, found in flows.items()}
    return {
        "columns": manifest.event_shape[0],
        "rows": {split: found.rows for split, found in manifest.splits.items()},
        "steps": look.data.get("dequantize", {}),
        "remarks": look.remarks,
        "gaussian": _told(mean_of(gaussian)),
        "ways": {
            way: {
                "test": _told(mean_of(found)),
                "minus_gaussian": _told(difference(found, gaussian)),
                "validation_minus_gaussian": [round(each, 4) for each in worse[way]],
                "cpu_seconds": round(float(np.mean(seconds[way])), 1),
            }
            for way, found in pooled.items()
        },
    }


def _csv(name: str, folder: Path) -> Path:
    """Writes a table of scikit-learn without its target."""
    found = (
        datasets.load_diabetes(scaled=False)  # as it was measured
        if name == "diabetes"
        else getattr(datasets, f"load_{name}")()
    )
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(found.feature_names)
        writer.writerows(found.data.tolist())
    return path


def _gaussian(store: Store, manifest: Manifest, split: str) -> GroupBits:
    """Returns the bits of a split's rows under a Gaussian of the training rows."""
    known, judged = (load_split(store, manifest, each) for each in ("train", split))
    seen = next(evaluation_batches(known, manifest.bins, len(known), 0))
    gaussian = Gaussian.fit(seen.x, full=True)
    rows = next(evaluation_batches(judged, manifest.bins, len(judged), EVALUATION_SEED))
    bits = [gaussian.bits_per_dim(row[None]) for row in rows.x]
    return GroupBits.of(np.array(bits))


def _told(found: Interval) -> dict[str, float]:
    return {key: round(value, 4) for key, value in vars(found).items()}


if __name__ == "__main__":
    main(sys.argv[1:])
