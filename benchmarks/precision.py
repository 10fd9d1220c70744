"""make bench-precision: what networks in bf16 change over a whole training, for several seeds."""

from __future__ import annotations

import json
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

import flowkd
from flowkd.flows.precision import CANDIDATES, machine_name

RESULTS = Path("results/bench-precision.json")
SEEDS = (0, 1, 2)
STEPS = 1000


def main(steps: int = STEPS) -> dict[str, Any]:
    """Trains a small Glow on scikit-learn's digits, per seed in each precision."""
    x = load_digits().images[:, None].astype(np.uint8)
    cases = {}
    for seed in SEEDS:
        case: dict[str, float] = {}
        for precision in CANDIDATES:
            flow = flowkd.glow((1, 8, 8), levels=2, depth=3, width=32, seed=seed)
            began = time.process_time()
            history = flowkd.fit(
                flow, x, bins=17, steps=steps, batch_size=64, learning_rate=0.003, seed=seed,
                progress=False, precision=precision,
            )  # fmt: skip
            case[precision] = round(history.best[1], 5)
            case[f"{precision}_seconds"] = round(time.process_time() - began, 1)
        case["difference"] = round(case["bf16"] - case["float32"], 5)
        cases[str(seed)] = case
        print(seed, case, flush=True)
    return {
        "bits_per_dim": cases,
        "steps": steps,
        "machine": machine_name(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = main(*(int(each) for each in sys.argv[1:]))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
