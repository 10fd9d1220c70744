"""make bench-distill: what a teacher adds to a training step, with and without its cache.

Plain and distilled steps of one student have their turns in the same rounds, on one thread, in the
time of the CPU. A step is whole: its batch, the objective, the gradients and the optimiser.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.engines import cpu_name
from benchmarks.performance.measure import in_turns, quartiles
from flowkd.data.batch import BatchSource
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.loader import BatchLoader
from flowkd.data.rows import Examples
from flowkd.distillation.cache import CHUNK, CacheConfig, cache_targets, data_with_targets
from flowkd.distillation.hints import Hint
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.schedules import LossWeights
from flowkd.distillation.teacher_samples import FreshSamples, MixedLoader, draw_samples
from flowkd.flows.build import build_flow, smaller
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig, group_bounds
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.training.loop import AveragedFlow, StepResult, make_optimizer, train
from flowkd.training.train_config import TrainConfig

RESULTS = Path("results/bench-distill.json")
SECONDS = 12.0  # a flow and a kind of distillation
ROWS = 512
AIM = 1.15
TEACHERS: dict[str, tuple[FlowConfig, int]] = {
    "pictures": (
        GlowConfig(event_shape=(3, 32, 32), levels=3, depth=8, width=64, mean=128.0, scale=256.0),
        16,
    ),
    "table": (CouplingConfig(event_shape=(63,), depth=8, width=128, mean=0.0, scale=1.0), 128),
}
# The terms of a loss, and whether each step sees as many samples of the teacher as rows of data.
TERMS: dict[str, tuple[LossWeights, bool]] = {
    "density": (LossWeights(nll=0.9, density=0.1), False),
    "latent": (LossWeights(nll=0.9, latent=0.1), False),
    "hints": (LossWeights(nll=0.9, hints=0.1), False),
    "samples": (LossWeights(nll=0.5, samples=0.5), True),
}
WAYS = ("plain", "no cache", "memory")


def main() -> None:
    """Measures every flow and term and writes `results/bench-distill.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cases = {
        name: {terms: measure(*teacher, terms, asked.seconds) for terms in TERMS}
        for name, teacher in TEACHERS.items()
    }
    found = {
        "cases": cases,
        "cpu": cpu_name(),
        "load": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


def measure(larger: FlowConfig, batch_size: int, terms: str, seconds: float) -> dict[str, Any]:
    """Returns milliseconds of steps, and quartiles of the ratios to the plain one."""
    teacher = build_flow(larger)
    rows = examples(larger)
    teacher.initialize(rows.x[:64].float())
    weights, samples = TERMS[terms]
    steps = {
        way: training(teacher, larger, rows, batch_size, weights, samples, way) for way in WAYS
    }
    times = in_turns({way: partial(next, each) for way, each in steps.items()}, seconds,
                     time.process_time)  # fmt: skip
    return {
        "rounds": len(times["plain"]),
        "ms": {way: round(1000 * median(taken), 3) for way, taken in times.items()},
        "over_plain": {way: quartiles(taken, times["plain"]) for way, taken in times.items()},
    }


def examples(config: FlowConfig) -> Examples:
    """Returns rows of pictures in bytes, or of a table."""
    assert config.event_shape is not None
    source = torch.Generator().manual_seed(0)
    if len(config.event_shape) > 1:
        shape = (ROWS, *config.event_shape)
        return Examples(torch.randint(256, shape, generator=source, dtype=torch.uint8))
    return Examples(torch.randn(8 * ROWS, *config.event_shape, generator=source))


def training(
    teacher: Flow,
    larger: FlowConfig,
    rows: Examples,
    batch_size: int,
    weights: LossWeights,
    samples: bool,
    way: str,
) -> Iterator[StepResult]:
    """Returns the steps of a student, plain or distilled; a plain one sees as many rows."""
    config = smaller(larger, 0.25)
    student = build_flow(config)
    student.initialize(rows.x[:64].float())
    hints = every_step(student, teacher) if weights.ever("hints") else []
    bins = 256 if rows.x.dtype == torch.uint8 else None
    taps = [hint.teacher for hint in hints]
    settings = CacheConfig(kind="memory")
    kept = rows
    if way == "memory":
        kept, bins = data_with_targets(teacher, rows, bins, taps, settings, 0), None
    both = 2 if way == "plain" and samples else 1
    batches: BatchSource = BatchLoader(kept, batch_size=both * batch_size, seed=0, bins=bins)
    if samples and way != "plain":
        batches = MixedLoader(batches, drawn(teacher, batch_size, way))
    objective: MaximumLikelihood | Distillation = MaximumLikelihood(student)
    if way != "plain":
        objective = Distillation(student, teacher, hints, weights)
    train_config = TrainConfig(steps=10**6, learning_rate=1e-5)
    return train(
        objective, batches, make_optimizer(student, train_config), train_config,
        average=AveragedFlow(student, 0.995), reads=lambda step: step % 10 == 0,
    )  # fmt: skip


def drawn(teacher: Flow, batch_size: int, way: str) -> BatchSource:
    """Returns samples of a teacher: new ones at each step, or of those drawn before."""
    if way != "memory":
        return FreshSamples(teacher, batch_size=batch_size, temperature=1.0, seed=0)
    known, _ = draw_samples(teacher, ROWS, temperature=1.0, seed=0)
    known = cache_targets(
        teacher, evaluation_batches(known, None, CHUNK, 0), len(known), (), "memory"
    )
    return BatchLoader(known, batch_size=batch_size, seed=0, bins=None)


def every_step(student: Flow, teacher: Flow) -> list[Hint]:
    """Returns a hint after each step of the student, at an even place of the teacher."""

    def of(flow: Flow) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in flow.taps:
            level, _, step = name.rpartition("step")
            if step.isdigit():
                found.setdefault(level, []).append(name)
        return found

    theirs = of(teacher)
    return [
        Hint(student=name, teacher=theirs[level][stop - 1])
        for level, names in of(student).items()
        for name, (_, stop) in zip(names, group_bounds(len(names), len(theirs[level])), strict=True)
    ]


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-distill.md."""

    def entry(case: dict[str, Any], way: str) -> str:
        low, middle, high = case["over_plain"][way]
        return f"{middle:.2f} ({low:.2f} to {high:.2f})"

    def reached(case: dict[str, Any]) -> str:
        return "met" if case["over_plain"]["memory"][1] <= AIM else "missed"

    rows = [
        f"| {name} | {terms} | {case['ms']['plain']:.2f} | {entry(case, 'no cache')} | "
        f"{entry(case, 'memory')} | {reached(case)} |"
        for name, cases in results["cases"].items()
        for terms, case in cases.items()
    ]
    return f"""# What a teacher adds to a step

`make bench-distill`, {results["date"]}, {results["cpu"]}, one thread, torch {results["torch"]};
load {results["load"]}.

A training step of a student that learns from a teacher over the same student's step on data alone,
of as many rows, in the same rounds and in the time of the CPU: the median and, in brackets, the
quartiles. A step is whole: its batch, the losses, the gradients, the optimiser and the moving
average. The student has 25% of the parameters. *hints* has one after each step of the student;
*samples* sees as many samples of the teacher as rows of data. With `objective.cache` the teacher
computes nothing while the student trains; the aim is at most {AIM:.2f}. Where nothing is set, a
student learns from samples that are drawn before training, which no step pays for either.

| data | terms beside nll | plain step, ms | without a cache | with it | aim |
| --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

`synthesis` is left out: it has the student sample besides, at each step, and has no cache.
"""


if __name__ == "__main__":
    main()
