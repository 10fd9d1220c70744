"""make bench-tuning: does the search pay? Three ways to spend the same steps, and what it costs.

Each way trains the same student of the quickstart's teacher on the quickstart's photos: it may only
choose how. All spend the same number of optimiser steps, with three seeds each.
"""

from __future__ import annotations

import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import fmean, stdev
from textwrap import fill
from typing import Any

import torch
from matplotlib.axes import Axes

from cluster.local import connect, disconnect, down, up
from cluster.storage import StorageConfig
from flowkd.config import load_config
from flowkd.data import prepare
from flowkd.run_config import ScalingConfig, TrainingConfig
from flowkd.store import Store
from flowkd.study.plots import to_png
from flowkd.training import run_in_process
from jobs.prepare import PrepareConfig
from tuning.config import SearchConfig
from tuning.records import Records, Trial
from tuning.search import search

RESULTS = Path("results/bench-tuning.json")
PICTURE = "tuning.png"
QUICKSTART = Path("jobs/configs/quickstart")
SEEDS = (0, 1, 2)
STEPS, TRIALS = 300, 12  # of a whole trial; and how many of those make the budget
BUDGET = STEPS * TRIALS
SHARES = (0.25, 0.5, 1.0)  # of the budget, at which the ways are compared
LONG_STEPS, LONG_TRIALS, AT_ONCE = 1500, 4, 2  # for the overhead
AIM = 1.15
RATE = {"low": 0.001, "high": 0.02}
FULL = {
    "hints": {"most": 4, "normalize": [True, False]},
    "weights": {
        "nll": 1,
        "samples": {"low": 0.1, "high": 1, "optional": True, "schedules": ["constant", "cosine"]},
        "latent": {"low": 0.001, "high": 1, "optional": True, "schedules": ["constant", "cosine"]},
        "hints": {"low": 0.001, "high": 1, "schedules": ["constant", "cosine"]},
    },
    "warm_start": ["fold", "inherit", "none"],
    "learning_rate": RATE,
}
PAPER = {"weights": {"nll": 0.9, "latent": 0.1}, "learning_rate": RATE}
WAYS: dict[str, dict[str, Any]] = {
    "TPE and ASHA": {
        "space": FULL, "algorithm": "tpe", "trials": 22, "stopping": {"first": 0.2, "keep": 3},
    },
    "random search": {"space": FULL, "algorithm": "random", "trials": TRIALS, "stopping": None},
    "paper's weights": {"space": PAPER, "algorithm": "random", "trials": TRIALS, "stopping": None},
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """The best so far, after so many steps of all trials."""

    steps: int
    bits_per_dim: float


def main() -> None:
    torch.set_num_threads(1)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="flowkd-bench-") as folder:
        storage = StorageConfig(uri=folder)
        teacher = _teacher(storage.store())
        record = Path(folder, "cluster.json")
        os.environ["RAY_ADDRESS"] = up(record=record).address  # not one that runs already
        connect()
        try:
            curves = {way: [_curve(way, seed, storage) for seed in SEEDS] for way in WAYS}
            overhead = _overhead(storage)
        finally:
            disconnect()
            down(record=record)
    results = {
        "teacher_bits_per_dim": teacher,
        "curves": {
            way: [[vars(point) for point in curve] for curve in found]
            for way, found in curves.items()
        },
        "overhead": overhead,
        "seconds": round(time.perf_counter() - began),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(sentence(results))


def _teacher(store: Store) -> float:
    prepare(load_config(PrepareConfig, QUICKSTART / "dataset.yaml").root, store)
    config = load_config(TrainingConfig, QUICKSTART / "teacher.yaml")
    for _ in run_in_process(config.model_copy(update={"scaling": ScalingConfig()}), store):
        pass
    metrics = store.read_json("runs", config.name, "result", "metrics.json")
    return float(metrics["validation_bits_per_dim"])


def _config(name: str, **changes: Any) -> SearchConfig:
    student = load_config(TrainingConfig, QUICKSTART / "distilled.yaml")
    values = {
        "name": name,
        "teacher": "runs/quickstart-teacher",
        "dataset": student.dataset,
        "student": student.flow.model_dump(),
        "budget": {"share": 0.25},
        "train": {**student.train.model_dump(), "steps": STEPS, "warmup": 50},
        "batch_size": student.batch_size,
        "validation_rows": student.validation_rows,
        "validate_every": STEPS // 10,
        "concurrent": AT_ONCE,
    }
    return SearchConfig.model_validate({**values, **changes})


def _curve(way: str, seed: int, storage: StorageConfig) -> list[Point]:
    name = f"{way.replace(' ', '-').replace(chr(39), '')}-{seed}"
    search(_config(name, seed=seed, **WAYS[way]), storage)
    curve = best_so_far(Records(storage.store(), name).trials())
    print(f"{way}, seed {seed}: {value_at(curve, BUDGET):.4f} bits/dim", flush=True)
    return curve


def _overhead(storage: StorageConfig) -> dict[str, Any]:
    """Times a search whose trials all take the same."""
    rate = {"learning_rate": {"low": 0.003, "high": 0.004}}
    train = {**_config("any", space=PAPER).train.model_dump(), "steps": LONG_STEPS}
    config = _config(
        "long", space=rate, train=train, validate_every=LONG_STEPS // 10, algorithm="random",
        trials=LONG_TRIALS, stopping=None,
    )  # fmt: skip
    began = time.perf_counter()
    search(config, storage)
    wall = time.perf_counter() - began
    trials = Records(storage.store(), "long").trials()
    pure = [trial.ended.seconds for trial in trials if trial.ended]
    return {
        "trials": len(pure),
        "at_once": AT_ONCE,
        "seconds_of_a_trial": fmean(pure),
        "wall_seconds": wall,
        "ratio": wall / (sum(pure) / AT_ONCE),
    }


def best_so_far(trials: Sequence[Trial]) -> list[Point]:
    """Returns how good the best finished trial is as steps are spent, in the order of their ends.

    Steps of trials that were stopped, or failed, are spent as well.
    """
    ended = sorted((t.ended for t in trials if t.ended), key=lambda end: end.time)
    spent, best, points = 0, math.inf, []
    for end in ended:
        spent += end.curve[-1][0] if end.curve else 0
        if end.state == "finished":
            best = min(best, end.bits_per_dim)
        points.append(Point(spent, best))
    return points


def value_at(curve: Sequence[Point], steps: float) -> float:
    """Returns the best that was known when so many steps were spent; infinite where none was."""
    return min((p.bits_per_dim for p in curve if p.steps <= steps), default=math.inf)


def sentence(results: dict[str, Any]) -> str:
    """Returns in words which way was best, as far as the seeds tell."""
    at_end = {way: _values(results, way, 1.0) for way in WAYS}
    means = {way: fmean(values) for way, values in at_end.items()}
    searched, *others = WAYS
    parts = []
    for other in others:
        wins = sum(a < b for a, b in zip(at_end[searched], at_end[other], strict=True))
        gain = means[other] - means[searched]
        better = "better" if gain > 0 else "worse"
        parts.append(
            f"{abs(gain):.3f} bits/dim {better} than {other} on average, and better in {wins} of "
            f"{len(SEEDS)} seeds"
        )
    return f"For the same {BUDGET:,} steps {searched} is {'; '.join(parts)}."


def _values(results: dict[str, Any], way: str, share: float) -> list[float]:
    curves = [[Point(**point) for point in curve] for curve in results["curves"][way]]
    return [value_at(curve, share * BUDGET) for curve in curves]


def _cell(values: Sequence[float]) -> str:
    if not all(map(math.isfinite, values)):
        return "none finished"
    return f"{fmean(values):.3f} ± {stdev(values):.3f}"


def picture(results: dict[str, Any]) -> bytes:
    """Returns the best so far against the steps spent, each seed a line, as a PNG file."""

    def draw(axes: Axes) -> None:
        for number, (way, curves) in enumerate(results["curves"].items()):
            for seed, curve in enumerate(curves):
                points = [p for p in curve if math.isfinite(p["bits_per_dim"])]
                axes.step(
                    [p["steps"] for p in points],
                    [p["bits_per_dim"] for p in points],
                    where="post",
                    color=f"C{number}",
                    linewidth=1.2,
                    label="" if seed else way,
                )
        axes.axvline(BUDGET, color="0.7", linewidth=0.8)
        axes.set_xlabel("optimiser steps of all trials")
        axes.set_ylabel("best validation bits/dim")
        axes.legend()

    return to_png(draw, 3.6)


def document(results: dict[str, Any]) -> str:
    """Returns the page docs/tuning.md, and draws its picture."""
    Path("docs", PICTURE).write_bytes(picture(results))
    rows = []
    for way in WAYS:
        cells = [_cell(_values(results, way, share)) for share in SHARES]
        trials = fmean(
            sum(point["steps"] <= BUDGET for point in curve) for curve in results["curves"][way]
        )
        rows.append(f"| {way} | {' | '.join(cells)} | {trials:.0f} |")
    heads = " | ".join(f"after {share * BUDGET:,.0f} steps" for share in SHARES)
    over = results["overhead"]
    how = (
        f"All three train the quickstart's distilled student of its teacher "
        f"({results['teacher_bits_per_dim']:.3f} bits/dim), {STEPS} steps a trial, two trials at a "
        f"time. *TPE and ASHA* and *random search* choose hints, weights and their schedules, warm "
        f"start and learning rate; the first stops trials that fall behind and so begins more of "
        f"them. *Paper's weights* are .9 nll and .1 latent from a random start, and the whole "
        f"budget goes into its learning rate, in the same range; what a folded start alone gives "
        f"is in [study.md](study.md). Best validation bits/dim of the trials that were finished, "
        f"mean and standard deviation over {len(SEEDS)} seeds:"
    )
    cost = (
        f"**Overhead.** {over['trials']} trials of {over['seconds_of_a_trial']:.0f} s each, "
        f"{over['at_once']} at a time, took {over['wall_seconds']:.0f} s: {over['ratio']:.3f} times "
        f"their pure training (aim: at most {AIM} for trials of 60 s)."
    )
    return f"""# Does the search pay?

`make bench-tuning`, {results["date"]}, {results["machine"]}, torch {results["torch"]};
{results["seconds"] / 60:.0f} minutes in all.

{fill(sentence(results), 100)}

{fill(how, 100)}

| | {heads} | trials |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}

![best validation bits/dim against steps]({PICTURE})

The best is chosen on the rows that it is judged on here, so that all figures are a little too good;
what a search publishes is looked at on the test split.

{fill(cost, 100)}
"""


if __name__ == "__main__":
    main()
