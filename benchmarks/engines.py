"""make bench-engines: what computes a flow, beside its networks alone.

Each figure is a ratio of two times taken in the same rounds, on one thread. The floor is the
coupling networks and split priors alone, in float32 PyTorch, on inputs of the shapes that they get
in the flow: the faster of torch's default memory layout and channels_last, at this batch.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch

import flowkd
from benchmarks.bench import networks, plain_copy, ratio, run
from flowkd.evaluation.throughput import seconds_per_call
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.flows.inference import for_inference

RESULTS = Path("results/bench-engines.json")
WIDTHS = (32, 128)
ROUNDS = {1: 25, 16: 15, 256: 3}  # by the rows of a call
AIMS = {1: 0.75, 16: 0.90, 256: 0.90}
ENGINES = ("onnx", "torch")
# Of which only the time to build graphs is told.
TABLES: dict[str, Callable[[], Flow]] = {
    "couplings with splines of 63 columns": lambda: flowkd.coupling(
        63, depth=5, width=128, transform="spline", mean=0.0, scale=1.0
    ),
    "an autoregressive flow of 63 columns": lambda: flowkd.autoregressive(
        63, depth=5, width=128, mean=0.0, scale=1.0
    ),
}
HEAD = (
    "| width | batch | networks alone, ms | aim | log_prob, onnx | log_prob, torch "
    "| sample, onnx | sample, torch |",
    "| --- | --- | --- | --- | --- | --- | --- | --- |",
)


def main() -> None:
    """Measures each width and batch, and writes `results/bench-engines.json`."""
    torch.set_num_threads(1)
    cells: list[dict[str, Any]] = []
    build: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLOWKD_CACHE"] = folder
        for width in WIDTHS:
            flow = moved_flow(width)
            build[f"Glow of width {width}"], onnx = built(flow)
            forms = {"onnx": onnx, "torch": for_inference(flow, "torch")}
            cells += [cell(flow, forms, width, batch) for batch in ROUNDS]
        for name, table in TABLES.items():
            build[name] = built(table())[0]
    outcome = {
        "cells": cells,
        "build_seconds": build,
        "cpu": cpu_name(),
        "torch": torch.__version__,
        "onnxruntime": __import__("onnxruntime").__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(outcome, indent=2))


def built(flow: Flow) -> tuple[float, Flow]:
    """Returns the seconds that an engine's graphs take to build and open, and the engine's form."""
    began = time.perf_counter()
    form = for_inference(flow, "onnx")
    return round(time.perf_counter() - began, 1), form


def moved_flow(width: int) -> Flow:
    """Returns Glow 3x32x32, L 3, K 8, with every parameter off its start."""
    config = GlowConfig(
        event_shape=(3, 32, 32), levels=3, depth=8, width=width, mean=128.0, scale=256.0
    )
    flow = build_flow(config)
    with torch.no_grad():
        flow.initialize(256 * torch.rand(32, 3, 32, 32))
        for parameter in flow.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return flow.eval().requires_grad_(False)


@torch.no_grad()
def cell(flow: Flow, forms: dict[str, Flow], width: int, batch: int) -> dict[str, Any]:
    """Times one batch: the networks in each layout, and both directions in each engine."""
    x = 256 * torch.rand(batch, 3, 32, 32)
    z = flow(x).z
    own = networks(flow, x)
    plain = [(plain_copy(network), given.contiguous()) for network, given in own]
    last = [(_channels_last(plain_copy(network)), _channels_last(given)) for network, given in own]
    calls: dict[str, Callable[[], object]] = {
        "default": torch.no_grad()(lambda: run(plain)),
        "channels_last": torch.no_grad()(lambda: run(last)),
        "flowkd's": torch.no_grad()(lambda: run(own)),
    }
    for name, form in forms.items():
        calls[f"log_prob {name}"] = torch.no_grad()(lambda form=form: form.log_prob(x))
        calls[f"sample {name}"] = torch.no_grad()(lambda form=form: form.inverse(z))
    times = seconds_per_call(calls, seconds=0, rounds=ROUNDS[batch])  # once a round
    floor = min(("default", "channels_last", "flowkd's"), key=lambda name: median(times[name]))
    return {
        "width": width,
        "batch": batch,
        "floor": floor,
        "floor_milliseconds": 1000 * median(times[floor]),
        "ratios": {
            f"{what} {name}": ratio(times[f"{what} {name}"], times[floor])
            for what in ("log_prob", "sample")
            for name in forms
        },
    }


def _channels_last(given: Any) -> Any:
    return given.to(memory_format=torch.channels_last)


def cpu_name() -> str:
    """Returns what the CPU calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-engines.md."""
    rows = [
        f"| {each['width']} | {each['batch']} | {each['floor_milliseconds']:.2f} ({each['floor']}) "
        f"| {AIMS[each['batch']]:.2f} | "
        + " | ".join(
            f"{each['ratios'][f'{what} {name}']:.2f}"
            for what in ("log_prob", "sample")
            for name in ENGINES
        )
        + " |"
        for each in results["cells"]
    ]
    taken = "\n".join(
        f"| {name} | {seconds:.1f} |" for name, seconds in results["build_seconds"].items()
    )
    return f"""# Engines

`make bench-engines`, {results["date"]}, {results["cpu"]}, one thread, torch {results["torch"]},
ONNX Runtime {results["onnxruntime"]}.

Glow 3x32x32, L 3, K 8: the time of `flowkd.for_inference(flow, engine)` over that of the networks
alone in PyTorch, the faster of its layouts, in the same rounds. Below 1 the whole flow takes less
time than its networks take in PyTorch. `sample` is from latents to data.

{chr(10).join([*HEAD, *rows])}

Graphs are built once for each flow and machine. Seconds until they are built, opened and compared
with the flow; the first has what Python imports for it besides:

| flow | s |
| --- | --- |
{taken}
"""


if __name__ == "__main__":
    main()
