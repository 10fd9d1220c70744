"""make bench-precision: what networks in bf16 change over a whole training, for several seeds.

Beside float32 stands float32 whose sums are added up in another order, of the same batches in two
parts: what that changes is what rounding alone does to a training, and no precision can do less.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits

import flowkd
from flowkd.flows.precision import machine_name

RESULTS = Path("results/bench-precision.json")
SEEDS = tuple(range(6))
STEPS = 1000
CASES: dict[str, dict[str, Any]] = {
    "float32": {},
    "float32 in 2 parts": {"accumulate": 2},
    "bf16": {"precision": "bf16"},
}


def main(steps: int = STEPS, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Trains a small Glow on scikit-learn's digits, per seed in each way."""
    x = load_digits().images[:, None].astype(np.uint8)
    bits: dict[str, list[float]] = {name: [] for name in CASES}
    seconds = dict.fromkeys(CASES, 0.0)
    for seed in seeds:
        for name, options in CASES.items():
            flow = flowkd.glow((1, 8, 8), levels=2, depth=3, width=32, seed=seed)
            began = time.process_time()
            history = flowkd.fit(
                flow, x, bins=17, steps=steps, batch_size=64, learning_rate=0.003, seed=seed,
                progress=False, **options,
            )  # fmt: skip
            bits[name].append(round(history.best[1], 5))
            seconds[name] += time.process_time() - began
        print(seed, {name: found[-1] for name, found in bits.items()}, flush=True)
    return {
        "bits_per_dim": bits,
        "seconds": {name: round(total, 1) for name, total in seconds.items()},
        "steps": steps,
        "machine": machine_name(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def document(found: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-precision.md."""
    ordinary, *others = found["bits_per_dim"]
    exact = found["bits_per_dim"][ordinary]
    changes = {
        name: [
            value - known for value, known in zip(found["bits_per_dim"][name], exact, strict=True)
        ]
        for name in others
    }
    lines = [
        "# Precision",
        "",
        f"`make bench-precision`, {found['date']}, {found['machine']}, one thread, torch "
        f"{found['torch']}: Glow (levels 2, depth 3, width 32) on scikit-learn's digits, "
        f"{found['steps']:,} steps of 64 rows at a rate of 0.003. Bits per dimension of the best "
        "validation, computed in float32, and the change from float32's.",
        "",
        "| seed | float32 | " + " | ".join(others) + " |",
        "| --- " * (2 + len(others)) + "|",
    ]
    for seed, known in enumerate(exact):
        row = " | ".join(f"{changes[name][seed]:+.4f}" for name in others)
        lines.append(f"| {seed} | {known:.4f} | {row} |")
    means = " | ".join(_mean(changes[name]) for name in others)
    most = " | ".join(f"{max(map(abs, changes[name])):.4f}" for name in others)
    lines += [
        f"| mean ± standard error | | {means} |",
        f"| the largest | | {most} |",
        "",
        "`float32 in 2 parts` is the control: the same batches in float32, each in two parts, "
        "whose gradients are added up. It differs by rounding, which a thousand steps make so "
        "large. What bf16 changes shows in the mean, not in a seed.",
        "",
    ]
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{mean(values):+.4f} ± {error:.4f}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = main(int(sys.argv[1])) if sys.argv[1:] else main()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
