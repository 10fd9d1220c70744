"""make bench-shapes: shapes of a quarter of a Glow's parameters, by their times and likelihoods.

The teacher is Glow 3x32x32, L 3, K 8, width 128. Times are of the CPU, on one thread, of the form
for inference, each beside the teacher's in the same rounds; they do not depend on what the weights
are. Likelihoods are those of short trainings on crops of photographs, each shape at the better of
two learning rates by the validation crops.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any

import torch

import flowkd
from benchmarks.engines import cpu_name, moved_flow
from flowkd.data.importers.photos import PhotosConfig
from flowkd.data.reading import load_split
from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import evaluate_likelihood
from flowkd.evaluation.throughput import seconds_per_call
from flowkd.flows.build import build_flow, count_parameters, new_flow, smaller
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.flows.inference import for_inference
from flowkd.store.store import Store

RESULTS = Path("results/bench-shapes.json")
SHARE, LEVELS, LANES = 0.25, 3, 8
BATCHES = {1: 15, 16: 7, 64: 5}  # rounds of each
TURN_SECONDS = 0.05  # about, of each flow and direction in a round: its weights stay in the cache
STEPS, ROWS, RATES = 800, 16, (1e-3, 3e-3)
AIM = 4.0
TEACHER = GlowConfig(
    event_shape=(3, 32, 32), levels=LEVELS, depth=8, width=128, mean=128.0, scale=256.0
)


def shapes() -> dict[str, GlowConfig]:
    """Returns the shapes: the default, and the widest of each depth, alike in all levels."""
    default = smaller(TEACHER, SHARE)
    assert isinstance(default, GlowConfig)
    alike = {f"depth {depth}, alike": widest(depth) for depth in (2, 3, 4, 6, 8)}
    return {"default": default, **alike}


def widest(depth: int) -> GlowConfig:
    """Returns the widest shape of a depth, by eights, of no more parameters than the share."""
    most = SHARE * count_parameters(build_flow(TEACHER))
    width = LANES
    while count_parameters(build_flow(_shape(depth, width + LANES))) <= most:
        width += LANES
    return _shape(depth, width)


def _shape(depth: int, width: int) -> GlowConfig:
    return TEACHER.model_copy(update={"depth": depth, "width": width})


def main() -> None:
    """Measures all shapes, or a part, and writes `results/bench-shapes.json` after each part."""
    parts = {"times": add_times, "likelihoods": add_likelihoods}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.student_shapes")
    parser.add_argument("--only", choices=parts, help="keep the last results of the other part")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: described(config) for name, config in shapes().items()}
    if asked.only is not None:
        for name, shape in json.loads(RESULTS.read_text(encoding="utf-8"))["shapes"].items():
            found[name] |= shape
    about = {
        "date": date.today().isoformat(), "cpu": cpu_name(), "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    for name, part in parts.items():
        if asked.only in (None, name):
            part(found)
            RESULTS.parent.mkdir(exist_ok=True)
            text = json.dumps({**about, "shapes": found}, indent=2)
            RESULTS.write_text(f"{text}\n", encoding="utf-8")


def described(config: GlowConfig) -> dict[str, Any]:
    """Returns a shape's size."""
    flow, teacher = build_flow(config), build_flow(TEACHER)
    return {
        "depth": config.depth, "width": config.width,
        "share": count_parameters(flow) / count_parameters(teacher),
    }  # fmt: skip


def add_times(found: dict[str, dict[str, Any]]) -> None:
    """Adds how many times the teacher's rows a second each shape gives."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLOWKD_CACHE"] = folder
        teacher = for_inference(moved_flow(128), "onnx")
        students = {
            name: for_inference(_moved(config), "onnx") for name, config in shapes().items()
        }
        for name, student in students.items():
            found[name]["faster"] = {
                str(rows): faster(teacher, student, rows, rounds)
                for rows, rounds in BATCHES.items()
            }
            print(name, found[name]["faster"], flush=True)


def _moved(config: GlowConfig) -> Flow:
    flow = build_flow(config)
    with torch.no_grad():
        flow.initialize(256 * torch.rand(32, *TEACHER.event_shape or ()))
        for parameter in flow.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return flow.eval().requires_grad_(False)


@torch.no_grad()
def faster(teacher: Flow, student: Flow, rows: int, rounds: int) -> dict[str, float]:
    """Returns the medians of the ratios of CPU time within rounds, by direction."""
    x = 256 * torch.rand(rows, *teacher.event_shape)
    z = torch.randn(rows, *teacher.latent_shape)
    calls: dict[str, Callable[[], object]] = {}
    for name, flow in (("teacher", teacher), ("student", student)):
        calls[f"log_prob {name}"] = torch.no_grad()(lambda flow=flow: flow.log_prob(x))
        calls[f"sample {name}"] = torch.no_grad()(lambda flow=flow: flow.inverse(z))
    seconds = rounds * len(calls) * TURN_SECONDS
    times = seconds_per_call(calls, seconds=seconds, rounds=rounds, clock=time.process_time)
    return {
        what: median(
            theirs / ours
            for theirs, ours in zip(times[f"{what} teacher"], times[f"{what} student"], strict=True)
        )
        for what in ("log_prob", "sample")
    }


def add_likelihoods(found: dict[str, dict[str, Any]]) -> None:
    """Adds the bits per dimension of test crops after a short training."""
    train, val, test = photographs()
    for name, config in shapes().items():
        tried = []
        for rate in RATES:
            flow = new_flow(config.model_copy(update={"mean": None, "scale": None}))
            flowkd.fit(
                flow, train.x, bins=256, steps=STEPS, batch_size=ROWS, learning_rate=rate,
                validation=val.x, progress=False,
            )  # fmt: skip
            tried.append((bits(flow, val), bits(flow, test)))
        found[name]["bits_per_dim"] = min(tried)[1]
        print(name, found[name]["bits_per_dim"], flush=True)


def photographs() -> tuple[Examples, Examples, Examples]:
    """Returns crops of 32x32, the tiles of the splits apart."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        manifest = PhotosConfig(crop=32, val_limit=200, test_limit=400).write(store)
        train, val, test = (load_split(store, manifest, each) for each in ("train", "val", "test"))
    return train, val, test


def bits(flow: Flow, rows: Examples) -> float:
    """Returns the bits per dimension of crops."""
    return evaluate_likelihood(flow, rows, bins=256).bits_per_dim


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-shapes.md."""
    lines = []
    for name, shape in results["shapes"].items():
        widths = shape["width"] if isinstance(shape["width"], list | tuple) else [shape["width"]]
        ratios = [shape["faster"][str(rows)] for rows in BATCHES]
        cells = [
            name, str(shape["depth"]), ", ".join(map(str, widths)), f"{shape['share']:.0%}",
            *(f"{each[what]:.2f}" for what in ("log_prob", "sample") for each in ratios),
            f"{shape['bits_per_dim']:.3f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    default = results["shapes"]["default"]
    reached = [value for each in default["faster"].values() for value in each.values()]
    likeliest = min(results["shapes"], key=lambda name: results["shapes"][name]["bits_per_dim"])
    best = results["shapes"][likeliest]
    heads = " | ".join(f"{what}, {rows}" for what in ("log_prob", "sample") for rows in BATCHES)
    body = "\n".join(lines)
    return f"""# Shapes of a quarter of a picture flow's parameters

`make bench-shapes`, {results["date"]}, torch {results["torch"]}, {results["cpu"]}, one thread,
load {results["load"]} at the start.

A student of `share: 0.25` of a Glow 3x32x32, L 3, K 8, width 128, is to be {AIM:g} times as fast:
the default is {min(reached):.1f} to {max(reached):.1f} times, {geometric_mean(reached):.1f} in the
geometric mean. Beside it stands the widest flow of each depth, alike in all levels and a multiple
of {LANES}, that has at most as many parameters. The columns are rows a second over the teacher's,
log_prob and sampling, by the rows of a call, in the engine that serves, ONNX Runtime; and bits per
dimension on test crops of photographs, lower is better, after {STEPS} steps of {ROWS} crops at the
better of two learning rates by the validation crops. Longer trainings may order shapes otherwise.

| | depth | widths by level | parameters | {heads} | bits/dim |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{body}

The default was chosen for its time. The likeliest of these after so few steps is *{likeliest}*, by
{default["bits_per_dim"] - best["bits_per_dim"]:.3f} bits per dimension: where likelihood matters
more than time, say so in the student's config,
`flow: {{kind: glow, depth: {best["depth"]}, width: {best["width"]}}}`.
"""


if __name__ == "__main__":
    main()
