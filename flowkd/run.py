"""One training, whole: from its configuration to all that the loop needs, without any cluster."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.artifacts import Artifact, load_artifact, write_artifact
from flowkd.build import CouplingConfig, GlowConfig, build_flow
from flowkd.data import Batches, Examples, evaluation_batches, load_split, read_manifest
from flowkd.errors import ConfigError, NonFiniteError
from flowkd.flow import Flow
from flowkd.metrics import bits_per_dim
from flowkd.model_card import Lineage
from flowkd.objectives import Distillation, MaximumLikelihood
from flowkd.run_config import (
    DistillationConfig,
    MaximumLikelihoodConfig,
    TrainingConfig,
    complete_flow,
)
from flowkd.store import Store
from flowkd.train import AveragedFlow, StepResult, make_optimizer, train
from flowkd.warmstart import check_foldable, fold


@dataclass
class Run:
    """A training in progress: all that a checkpoint holds and a resumed run needs.

    Attributes:
        step: Number of steps done.
        best: Weights of the average with the best validation so far.
        best_bits_per_dim: Their bits per dimension on the validation rows.
        validation: This worker's share of the validation rows, noise included.
    """

    config: TrainingConfig
    flow_config: GlowConfig | CouplingConfig
    objective: MaximumLikelihood | Distillation
    optimizer: torch.optim.Optimizer
    average: AveragedFlow
    batches: Batches
    validation: Examples
    bins: int | None
    best: dict[str, Tensor]
    best_bits_per_dim: float = math.inf
    step: int = 0

    def steps(self, objective: nn.Module | None = None) -> Iterator[StepResult]:
        """Yields the steps that are left; `objective` may be DDP around this run's own."""
        for result in train(
            objective or self.objective,
            self.batches,
            self.optimizer,
            self.config.train,
            start=self.step,
            average=self.average,
        ):
            self.step = result.step
            yield result

    @torch.no_grad()
    def validation_nats(self) -> Tensor:
        """Returns the sum of log p over this worker's validation rows and their number, (2,)."""
        flow = self.average.flow
        device = next(flow.parameters()).device
        rows = self.validation
        total = torch.zeros((), dtype=torch.float64)
        for start in range(0, len(rows), 500):
            part = slice(start, start + 500)
            context = None if rows.context is None else rows.context[part].to(device)
            total += flow.log_prob(rows.x[part].to(device), context).double().sum().cpu()
        return torch.stack([total, torch.tensor(len(rows), dtype=torch.float64)])

    def keep_if_best(self, nats: Tensor) -> float:
        """Keeps the average's weights if they are the best yet; returns bits per dimension.

        Raises:
            NonFiniteError: Validation data whose likelihood is NaN or 0.
        """
        bits = float(bits_per_dim((nats[0] / nats[1]).item(), self.average.flow.dimensions))
        if not math.isfinite(bits):
            raise NonFiniteError(
                f"step {self.step}: validation bits/dim is {bits}: lower learning_rate"
            )
        if bits < self.best_bits_per_dim:
            self.best_bits_per_dim = bits
            self.best = copy.deepcopy(self.average.flow.state_dict())
        return bits

    def is_due(self, every: int) -> bool:
        """Tells whether something that happens every so many steps, and at the end, is due."""
        return self.step % every == 0 or self.step == self.config.train.steps

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint holds: tensors, numbers and plain containers."""
        return {
            "step": self.step,
            "flow": self.objective.flow.state_dict(),
            "average": self.average.flow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_bits_per_dim": self.best_bits_per_dim,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.objective.flow.load_state_dict(state["flow"])
        self.average.flow.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best = state["best"]
        self.best_bits_per_dim = state["best_bits_per_dim"]
        self.step = state["step"]

    def finish(self, store: Store, seconds: float, commit: str | None = None) -> None:
        """Writes the best weights as the run's result, `runs/NAME/result`, unless it is there."""
        folder = f"runs/{self.config.name}/result"
        if store.exists(folder, "manifest.json"):
            return
        flow = copy.deepcopy(self.average.flow)
        flow.load_state_dict(self.best)
        objective = self.config.objective
        teacher = objective.teacher if isinstance(objective, DistillationConfig) else None
        write_artifact(
            store,
            folder,
            flow.cpu(),
            self.flow_config,
            training=self.config.model_dump(mode="json"),
            metrics={
                "validation_bits_per_dim": self.best_bits_per_dim,
                "steps": self.step,
                "seconds": round(seconds, 1),
            },
            lineage=Lineage(
                dataset=self.config.dataset,
                run=self.config.name,
                teacher=teacher,
                commit=commit,
                bins=self.bins,
            ),
        )


def prepare_run(
    config: TrainingConfig,
    store: Store,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
) -> Run:
    """Builds all that a training needs, equal on all workers but for each one's rows.

    Raises:
        ConfigError: The config contradicts the data set, or names taps that do not exist.
        DataError: No such data set.
        StoreError: No such teacher.
    """
    manifest = read_manifest(store, config.dataset)
    flow_config = complete_flow(config.flow, manifest)
    flow = build_flow(flow_config, seed=config.seed)
    teacher = _teacher(config, store)
    objective = _objective(config, flow_config, flow, teacher).to(device)
    train_rows = load_split(store, manifest, "train", limit=config.train_rows)
    validation = load_split(store, manifest, "val", limit=config.validation_rows)
    if not flow.context.width:
        train_rows, validation = (replace(rows, context=None) for rows in (train_rows, validation))
    synthesis = isinstance(objective, Distillation) and objective.weights.synthesis > 0
    batches = Batches(
        train_rows,
        batch_size=config.batch_size,
        seed=config.seed,
        bins=manifest.bins,
        latents=synthesis,
        rank=rank,
        world=world,
    )
    first = Batches(
        train_rows, batch_size=max(256, config.batch_size), seed=config.seed, bins=manifest.bins
    ).batch(0)
    first = first.to(device)
    flow.initialize(first.x, first.context)
    settings = config.objective
    if isinstance(settings, DistillationConfig) and teacher and settings.warm_start == "fold":
        fold(flow, flow_config, teacher.flow, teacher.config.flow, first.x, first.context)
    average = AveragedFlow(flow, config.train.ema)
    noisy = next(evaluation_batches(validation, manifest.bins, len(validation), config.seed))
    return Run(
        config=config,
        flow_config=flow_config,
        objective=objective,
        optimizer=make_optimizer(flow, config.train),
        average=average,
        batches=batches,
        validation=Examples(
            noisy.x[rank::world], None if noisy.context is None else noisy.context[rank::world]
        ),
        bins=manifest.bins,
        best=average.flow.state_dict(),
    )


def check_run(config: TrainingConfig, store: Store) -> None:
    """Raises what `prepare_run` would raise, but for faults of the data, which are not read."""
    flow_config = complete_flow(config.flow, read_manifest(store, config.dataset))
    teacher = _teacher(config, store)
    if teacher is not None:
        _objective(config, flow_config, build_flow(flow_config), teacher)


def run_in_process(config: TrainingConfig, store: Store) -> Iterator[StepResult]:
    """Trains in this process, without Ray, and writes the run's result at the end."""
    run = prepare_run(config, store)
    seconds = 0.0
    for result in run.steps():
        seconds += result.seconds
        if run.is_due(config.validate_every):
            run.keep_if_best(run.validation_nats())
        yield result
    run.finish(store, seconds)


def _objective(
    config: TrainingConfig,
    flow_config: GlowConfig | CouplingConfig,
    flow: Flow,
    teacher: Artifact | None,
) -> MaximumLikelihood | Distillation:
    settings = config.objective
    if isinstance(settings, MaximumLikelihoodConfig) or teacher is None:
        return MaximumLikelihood(flow)
    try:
        if settings.warm_start == "fold":
            check_foldable(flow_config, teacher.config.flow)
        return Distillation(
            flow, teacher.flow, settings.hints, settings.weights, settings.temperature
        )
    except ValueError as error:
        raise ConfigError(f"run {config.name!r}: objective: {error}") from error


def _teacher(config: TrainingConfig, store: Store) -> Artifact | None:
    if isinstance(config.objective, DistillationConfig):
        return load_artifact(store, config.objective.teacher)
    return None
