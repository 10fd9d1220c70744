"""make tried: what was tried to beat `fold` on plentiful photos, each beside the library's own.

One run each, seed 0, on validation rows: leads, not results. Teacher, data, steps, batches and
learning rate are those of the study of plentiful photos, which has to be there: `make study`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.tried_networks import (
    Attention,
    Gate,
    Residual,
    extended,
    separable,
)
from benchmarks.tried_recipes import Heads, fisher_fold, fold, heads, inherit, refitted, scores
from flowkd.config import load_config
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.loader import BatchLoader
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.distillation.hints import Hint
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.schedules import Cosine, LossWeights
from flowkd.evaluation.metrics import bits_per_dim, gap_closed
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.loop import AveragedFlow, TrainConfig, make_optimizer, train
from jobs.study.config import StudyConfig
from jobs.study.plan import plan

RESULTS = Path("results/tried.json")
STUDY = Path("jobs/configs/study/photos.yaml")
LEVEL_ENDS = tuple(
    Hint(student=ours, teacher=theirs, normalize=True)
    for ours, theirs in (("level0.step3", "level0.step7"), ("level1.step4", "level1.step7"))
)
Start = Callable[["Setting", Flow, GlowConfig], None]


@dataclass(frozen=True)
class Setting:
    """What all runs share."""

    study: StudyConfig
    teacher: Flow
    teacher_config: GlowConfig
    batches: BatchLoader
    calibration: Tensor
    validation: Tensor
    learning_rate: float

    @torch.no_grad()
    def bits(self, flow: Flow) -> float:
        """Returns bits per dimension on the validation rows."""
        nats = torch.cat([flow.log_prob(part) for part in self.validation.split(500)])
        return float(bits_per_dim(nats.double().mean().item(), flow.dimensions))


@dataclass(frozen=True)
class Attempt:
    """One thing that was tried.

    Attributes:
        about: For the table.
        sizes: Of the student, where it is not the study's.
        change: What is done to the student's networks after its start.
        start: How the student begins, distilled.
        objective: What it is trained to do; maximum likelihood by default.
        train: Changes of the training's config.
        batch_size: Rows of a step, where they are not the study's.
        plain: Whether a plain student of the same networks is trained too.
    """

    about: str
    sizes: dict[str, Any] | None = None
    change: Callable[[Flow], None] | None = None
    start: Start = fold
    objective: Callable[[Setting, Flow], nn.Module] | None = None
    train: dict[str, Any] | None = None
    batch_size: int | None = None
    plain: bool = False


def weighted(
    pairs: tuple[Hint, ...] = (), **weights: Cosine
) -> Callable[[Setting, Flow], nn.Module]:
    return lambda setting, flow: Distillation(
        flow, setting.teacher, pairs, LossWeights.model_validate({"nll": 1, **weights})
    )


def falling(start: float) -> Cosine:
    return Cosine(start=start)


ATTEMPTS = {
    "fold": Attempt("the library's: 3x3, 1x1, 3x3 convolutions", plain=True),
    "narrowing": Attempt(
        "second hidden layer half as wide (`inner`)",
        {"width": (48, 38), "inner": (24, 19)},
        plain=True,
    ),
    "gated": Attempt(
        "second hidden layer gated by itself",
        {"width": (29, 25)},
        extended(Gate),
        plain=True,
    ),
    "residual": Attempt(
        "a residual block of 1x1 convolutions more",
        {"width": (26, 23)},
        extended(Residual),
        plain=True,
    ),
    "attention": Attempt(
        "attention between places more",
        {"width": (24, 20)},
        extended(Attention),
        plain=True,
    ),
    "separable": Attempt(
        "depthwise-separable convolutions; cannot be folded: inherits",
        {"width": (32, 36)},
        separable,
        inherit,
        plain=True,
    ),
    "fisher": Attempt("units chosen by what the likelihood feels of them", start=fisher_fold),
    "outputs": Attempt(
        "folded, then its networks fitted to the teacher's for 200 of the steps", start=refitted,
        train={"steps": 1300},
    ),
    "hints": Attempt(
        "fold and normalised states at the levels' ends, weight 1 falling to 0",
        objective=weighted(LEVEL_ENDS, hints=falling(1.0)),
    ),
    "heads": Attempt(
        "fold and hidden units through linear heads, weight .1 falling to 0", objective=heads
    ),
    "latent": Attempt(
        "fold and latents, weight .3 falling to 0", objective=weighted(latent=falling(0.3))
    ),
    "density": Attempt(
        "fold and log-likelihoods, weight 3 falling to 0", objective=weighted(density=falling(3.0))
    ),
    "scores": Attempt(
        "fold and gradients of log p by x, weight .05 falling to 0", objective=scores
    ),
    "more rows": Attempt(
        "fold, four times as many rows a step: not a recipe, but what limits all of these",
        batch_size=512,
    ),
    "longer average": Attempt("fold and an average of decay .998", train={"ema_decay": 0.998}),
}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    setting = read_setting(Store(os.environ.get("FLOWKD_STORE", "store")))
    found: dict[str, Any] = {}
    for name, attempt in ATTEMPTS.items():
        row = dict(run(setting, attempt))
        plain = row.get("plain") or found["fold"]["plain"]
        row["gap_closed"] = gap_closed(setting.bits(setting.teacher), plain, row["distilled"])
        found[name] = {"about": attempt.about, **row}
        print(name, json.dumps(row), flush=True)
    outcome = {
        "attempts": found,
        "teacher": setting.bits(setting.teacher),
        "teacher_parameters": count_parameters(setting.teacher),
        "learning_rate": setting.learning_rate,
        "steps": setting.study.student.train.steps,
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")


def read_setting(store: Store) -> Setting:
    """Reads what the study of plentiful photos left in the store."""
    study = load_config(StudyConfig, STUDY)
    artifact = load_artifact(store, f"runs/{plan(study)[0].config.name}")
    assert isinstance(artifact.config.flow, GlowConfig)
    manifest = read_manifest(store, study.dataset.name)
    rows = replace(load_split(store, manifest, "train"), context=None)
    judged = load_split(store, manifest, "val", limit=study.validation_rows)
    noisy = next(evaluation_batches(judged, manifest.bins, len(judged), 0))
    batches = BatchLoader(rows, batch_size=study.student.batch_size, seed=0, bins=manifest.bins)
    calibration = BatchLoader(rows, batch_size=2048, seed=0, bins=manifest.bins).batch(0).x
    candidates = {
        run.config.train.learning_rate: load_artifact(store, f"runs/{run.config.name}")
        for run in plan(study)
        if run.row.arm == "plain"
    }
    best = min(candidates, key=lambda rate: candidates[rate].metrics["validation_bits_per_dim"])
    return Setting(study, artifact.flow, artifact.config.flow, batches, calibration, noisy.x, best)


def run(setting: Setting, attempt: Attempt) -> Iterator[tuple[str, float]]:
    """Yields the figures of an attempt: of its distilled student, and of the plain one."""
    if attempt.batch_size:
        known = setting.batches
        batches = BatchLoader(
            known.examples, batch_size=attempt.batch_size, seed=known.seed, bins=known.bins
        )
        setting = replace(setting, batches=batches)
    recipe = setting.study.student
    shape = {key: getattr(recipe.flow, key) for key in ("steps", "width", "inner")}
    config = setting.teacher_config.model_copy(update=shape | (attempt.sizes or {}))
    for arm in ("distilled", "plain") if attempt.plain else ("distilled",):
        torch.manual_seed(0)
        began = time.process_time()
        flow = build_flow(config)
        flow.initialize(setting.calibration[:256])
        if arm == "distilled":
            attempt.start(setting, flow, config)
        if attempt.change is not None:
            attempt.change(flow)
        make = attempt.objective if arm == "distilled" else None
        objective = make(setting, flow) if make else MaximumLikelihood(flow)
        changes = attempt.train if arm == "distilled" else None
        yield arm, best_bits(setting, flow, objective, changes or {})
        yield f"{arm}_cpu_seconds", round(time.process_time() - began, 1)
    yield "parameters", count_parameters(flow)


def best_bits(setting: Setting, flow: Flow, objective: nn.Module, changes: dict[str, Any]) -> float:
    """Trains as the study does; returns the best bits per dimension on the validation rows."""
    recipe = setting.study.student
    rate = {"learning_rate": setting.learning_rate}
    config = TrainConfig.model_validate({**recipe.train.model_dump(), **rate, **changes})
    average = AveragedFlow(flow, config.ema_decay)
    optimizer = make_optimizer(flow, config)
    if isinstance(objective, Heads):
        optimizer.add_param_group({"params": objective.heads.parameters()})
    found = [
        setting.bits(average.flow)
        for result in train(objective, setting.batches, optimizer, config, average=average)
        if result.step % recipe.validate_every == 0 or result.step == config.steps
    ]
    return min(found)


if __name__ == "__main__":
    main()
