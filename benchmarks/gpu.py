"""make bench-gpu: training steps and log_prob on a GPU, some minutes, without Ray.

Every figure is the time over that of an ordinary float32 step that is read each time.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch

from flowkd.data.batch import BatchSource
from flowkd.data.loader import BatchLoader
from flowkd.data.rows import Examples
from flowkd.distillation.losses import MaximumLikelihood
from flowkd.flows.build import build_flow
from flowkd.flows.glow import GlowConfig
from flowkd.training.loop import StepResult, make_optimizer, train
from flowkd.training.train_config import TrainConfig

RESULTS = Path("results/bench-gpu.json")
ROWS, STEPS, WARM_UP = 4096, 40, 8
FLOW = GlowConfig(event_shape=(3, 32, 32), levels=3, depth=8, width=512, mean=128.0, scale=256.0)
EVERY = 10  # steps between looks at what they made, as a run has by default
CASES: dict[str, dict[str, Any]] = {
    "read at each step": {"every": 1},
    "read at each tenth": {},
    "bf16": {"precision": "bf16"},
    "reversible": {"memory": "reversible"},
    "reversible, bf16": {"memory": "reversible", "precision": "bf16"},
    "in 4 parts": {"accumulate": 4},
    "compiled, as one CUDA graph": {"compile": True},
    "compiled, as one CUDA graph, bf16": {"compile": True, "precision": "bf16"},
    "compiled, in 4 parts": {"compile": True, "accumulate": 4},
}


def main(device: str = "cuda", flow: GlowConfig = FLOW, batch_size: int = 256) -> dict[str, Any]:
    """Times every case and returns what was found."""
    cases = {name: measure(options, device, flow, batch_size) for name, options in CASES.items()}
    first = cases["read at each step"]["milliseconds"]
    return {
        "cases": {
            name: {**case, "ratio": round(case["milliseconds"] / first, 3)}
            for name, case in cases.items()
        },
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "batch": batch_size,
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def measure(
    options: dict[str, Any], device: str, config: GlowConfig, batch_size: int
) -> dict[str, float]:
    """Returns milliseconds of a step, the most memory in MiB, and seconds of the first steps."""
    options = dict(options)
    every = options.pop("every", EVERY)
    flow = build_flow(config).to(device)
    train_config = TrainConfig(steps=WARM_UP + STEPS, learning_rate=1e-4, **options)
    optimizer = make_optimizer(flow, train_config)
    assert config.event_shape is not None
    source = torch.Generator().manual_seed(0)
    rows = Examples(
        torch.randint(256, (ROWS, *config.event_shape), generator=source, dtype=torch.uint8)
    )
    batches: BatchSource = BatchLoader(rows, batch_size=batch_size, seed=0, bins=256, device=device)
    flow.initialize(batches.batch(0).x)
    steps = train(
        MaximumLikelihood(flow), batches, optimizer, train_config,
        reads=lambda step: step % every == 0,
    )  # fmt: skip
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    first = _take(steps, WARM_UP, device)
    times = [_take(steps, EVERY, device) for _ in range(STEPS // EVERY)]
    peak = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 0.0
    return {
        "milliseconds": round(1000 * median(times) / EVERY, 3),
        "mebibytes": round(peak),
        "first_steps_seconds": round(first, 1),  # which compile
    }


def _take(steps: Iterator[StepResult], count: int, device: str) -> float:
    began = time.perf_counter()
    for _ in range(count):
        next(steps)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("make bench-gpu: expected a GPU that torch sees; got none on this machine")
    found = main()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
