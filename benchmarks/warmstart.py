"""make bench-warmstart: seconds and peak memory of the warm starts, on one thread.

Each case runs in a process of its own, so that its peak is its own. Teachers are not trained: their
last layers are random, which costs the same; ActNorm is initialised, as before any training.
"""

from __future__ import annotations

import json
import multiprocessing
import platform
import resource
import sys
import time
from datetime import date
from pathlib import Path

import torch

from flowkd.bijectors import Coupling
from flowkd.distillation.warmstart import WarmStart, warm_start
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig

RESULTS = Path("results/bench-warmstart.json")
PIXELS = {"mean": 128.0, "scale": 256.0}
PAPER = GlowConfig(event_shape=(3, 32, 32), levels=3, depth=32, width=512, **PIXELS)
TEACHERS: dict[str, FlowConfig] = {
    "quickstart": GlowConfig(event_shape=(3, 8, 8), levels=2, depth=6, width=64, **PIXELS),
    "table": CouplingConfig(event_shape=(63,), depth=10, width=256, mean=0.0, scale=1.0),
    "paper, 2 steps": PAPER.model_copy(update={"depth": 2}),
    "paper": PAPER,
}
SMALLER = {
    "quickstart": {"depth": 3, "width": 32},
    "table": {"depth": 5, "width": 64},
    "paper, 2 steps": {"depth": 1, "width": 128},
    "paper": {"depth": 8, "width": 128},
}
ROWS = {"quickstart": 256, "table": 1000, "paper, 2 steps": 256, "paper": 32}
KINDS: tuple[WarmStart, ...] = ("fold", "inherit", "slice")


def main(names: list[str]) -> None:
    """Measures the named teachers, or all, and writes `results/bench-warmstart.json`."""
    cases = [(name, kind) for name in names or TEACHERS for kind in KINDS]
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        outcome: dict[str, object] = {
            f"{name} {kind}": pool.apply(measure, (name, kind)) for name, kind in cases
        }
    outcome["machine"] = f"1 thread, {platform.machine()}"
    outcome["torch"] = torch.__version__
    outcome["date"] = date.today().isoformat()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(outcome, indent=2))


def measure(name: str, kind: WarmStart) -> dict[str, float]:
    """Times one warm start; memory is the process's own, flows and torch included."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = TEACHERS[name]
    small = config.model_copy(update=SMALLER[name])
    assert config.event_shape is not None
    x = torch.randn(ROWS[name], *config.event_shape)
    teacher, student = untrained(config, x), build_flow(small)
    before = peak_mebibytes()
    began, worked = time.perf_counter(), time.process_time()
    warm_start(kind, student, small, teacher, config, x)
    return {
        "seconds": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(time.process_time() - worked, 2),
        "mebibytes": round(peak_mebibytes()),
        "mebibytes_before": round(before),
        "rows": ROWS[name],
        "teacher_parameters": count_parameters(teacher),
        "student_parameters": count_parameters(student),
    }


def untrained(config: FlowConfig, x: torch.Tensor) -> Flow:
    """Returns a flow whose last layers are random, as if it had been trained a little."""
    flow = build_flow(config)
    for module in flow.modules():
        if isinstance(module, Coupling):
            torch.nn.init.normal_(module.conditioner.get_parameter("last.weight"), std=0.01)
    flow.initialize(x[:8])
    return flow


def peak_mebibytes() -> float:
    """Returns the most memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


if __name__ == "__main__":
    main(sys.argv[1:])
