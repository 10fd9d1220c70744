"""What make bench-onepass trains of a data set: a teacher, and its students."""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import flowkd
from benchmarks.onepass.datasets import DATA
from flowkd.data.rows import Examples
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

Job = tuple[str, str, int]
"""Data set, role, seed."""

SHARE, BATCH = 0.25, 256
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


def teacher_config(columns: int) -> AutoregressiveConfig:
    """Returns the teacher's config: five steps, splines, residual networks."""
    return AutoregressiveConfig(
        event_shape=(columns,), mean=0.0, scale=1.0, depth=5, width=128, blocks=1, mix="reverse"
    )


def train_teacher(name: str, steps: int, kept: Path) -> dict[str, Any]:
    """Trains a data set's teacher on standardised rows; keeps rows and weights."""
    splits = DATA[name]()
    mean, scale = splits.train.mean(0), splits.train.std(0)
    rows = {key: (getattr(splits, key) - mean) / scale for key in ("train", "val", "test")}
    truth = splits.truth
    if truth is not None:  # in the units that the flows see
        truth += scale.double().log().sum().item()
    torch.save(rows, kept / f"{name}.rows")
    flow = build_flow(teacher_config(mean.numel()), seed=0)
    began = time.process_time()
    losses = fitted(flow, rows, steps, seed=0)
    spent = round(time.process_time() - began)
    torch.save({"weights": flow.state_dict(), "steps": len(losses)}, kept / f"{name}.teacher")
    return {
        "rows": len(rows["train"]),
        "columns": flow.dimensions,
        "truth": None if truth is None else truth / flow.dimensions,
        "cpu_seconds": spent,
        "parameters": count_parameters(flow),
        "steps": len(losses),
        **judged(flow, rows),
    }


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


def load(name: str, kept: Path) -> tuple[dict[str, Tensor], Flow, int]:
    """Returns rows and teacher of a data set, and the steps that it took."""
    rows, saved = torch.load(kept / f"{name}.rows"), torch.load(kept / f"{name}.teacher")
    teacher = build_flow(teacher_config(rows["train"].shape[1]))
    teacher.load_state_dict(saved["weights"])
    return rows, teacher, saved["steps"]


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


def train_student(name: str, role: str, seed: int, steps: int, kept: Path) -> dict[str, Any]:
    """Trains a student, keeps its weights, and returns what is measured of it."""
    rows, teacher, least = load(name, kept)
    student = build_flow(student_config(teacher, role), seed=seed)
    weights = RECIPES.get(role)
    began = time.process_time()
    if role == "plain":
        losses = fitted(student, rows, steps, least, seed=seed)
    else:
        given = None if weights is None else LossWeights.model_validate(weights)
        losses = fitted(student, rows, steps, least, seed=seed, teacher=teacher, weights=given)
    spent = round(time.process_time() - began)
    torch.save(student.state_dict(), kept / f"{name}.{role}.{seed}".replace(" ", "_"))
    return {
        "steps": len(losses),
        "cpu_seconds": spent,
        "parameters": count_parameters(student),
        **judged(student, rows),
        **asdict(measure_divergence(student, teacher, Examples(rows["test"]))),
    }


def judged(flow: Flow, rows: dict[str, Tensor]) -> dict[str, Any]:
    """Returns a flow's likelihood, in nats a dimension, and how well its samples are told."""
    test = Examples(rows["test"])
    likelihood = evaluate_likelihood(flow, test, None)
    quality = measure_quality(flow, test, QUALITY)
    return {
        "nats": likelihood.nats / flow.dimensions,
        "bits_per_dim": likelihood.bits_per_dim,
        "c2st": asdict(quality.figures["c2st_auc"]),
    }


def sampling(name: str, kept: Path) -> dict[str, float]:
    """Returns the samples a second of each way to draw them, in turns."""
    rows, teacher, _ = load(name, kept)
    assert isinstance(teacher.config, AutoregressiveConfig)
    fixed = build_flow(teacher.config.model_copy(update={"decoding": "jacobi"}))
    fixed.load_state_dict(teacher.state_dict())
    student = build_flow(student_config(teacher, "distilled"))
    student.load_state_dict(torch.load(kept / f"{name}.distilled.0"))
    ways = {"exact": teacher, "jacobi": fixed, "student": student}
    forms = {way: flowkd.for_inference(flow) for way, flow in ways.items()}
    return samples_per_second(forms, Examples(rows["test"]), None, batch_size=64, seconds=6)


def outcome(job: Job, steps: int, kept: Path) -> str:
    """Does a job unless its outcome is there, and returns it in a line."""
    torch.set_num_threads(1)
    name, role, seed = job
    path = kept / f"{name}.{role}.{seed}.json".replace(" ", "_")
    if not path.exists():
        if role == "teacher":
            found: dict[str, Any] = train_teacher(name, steps, kept)
        elif role == "sampling":
            found = sampling(name, kept)
        else:
            found = train_student(name, role, seed, steps, kept)
        written = {"name": name, "role": role, "seed": seed, **found}
        path.write_text(json.dumps(written), encoding="utf-8")
    shown = json.loads(path.read_text(encoding="utf-8"))
    said = f"{shown['nats']:.4f} nats a dimension" if "nats" in shown else "measured"
    return f"{name}: {role}, seed {seed}: {said}"
