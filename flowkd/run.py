"""One training, whole: from its configuration to all that the loop needs, without any cluster."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.artifacts import write_artifact
from flowkd.build import CouplingConfig, GlowConfig, build_flow
from flowkd.errors import NonFiniteError
from flowkd.material import CALIBRATION_ROWS, Material, Worker, gather
from flowkd.metrics import bits_per_dim
from flowkd.model_card import Lineage
from flowkd.objectives import Distillation, MaximumLikelihood
from flowkd.references import References
from flowkd.run_config import DistillationConfig, TrainingConfig
from flowkd.store import Store
from flowkd.train import AveragedFlow, StepResult, make_optimizer, train


@dataclass
class Run:
    """A training in progress: all that a checkpoint holds and a resumed run needs.

    Attributes:
        material: What it is given.
        step: Number of steps done.
        best: Weights of the average with the best validation so far.
        best_bits_per_dim: Their bits per dimension on the validation rows.
        began: This process's CPU clock when the run was prepared, in seconds.
    """

    config: TrainingConfig
    flow_config: GlowConfig | CouplingConfig
    objective: MaximumLikelihood | Distillation
    optimizer: torch.optim.Optimizer
    average: AveragedFlow
    material: Material
    bins: int | None
    best: dict[str, Tensor]
    best_bits_per_dim: float = math.inf
    step: int = 0
    began: float = field(default_factory=time.process_time)

    def steps(self, objective: nn.Module | None = None) -> Iterator[StepResult]:
        """Yields the steps that are left; `objective` may be DDP around this run's own."""
        for result in train(
            objective or self.objective,
            self.material.batches,
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
        rows = self.material.validation
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

    @property
    def dropped(self) -> int:
        """How many teacher samples were not finite."""
        fresh = self.material.fresh
        return self.material.dropped + (fresh.dropped if fresh else 0)

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
                "cpu_seconds": round(time.process_time() - self.began, 1),
                **({"samples_dropped": self.dropped} if self.config.learns_from_samples else {}),
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
        NonFiniteError: A teacher without a finite sample, where samples are learnt from.
    """
    began = time.process_time()
    found = References(config, store)
    flow = build_flow(found.flow_config, seed=config.seed)
    objective = found.objective(flow).to(device)
    teacher = found.teacher
    material = gather(
        config,
        found.data(),
        teacher.flow if teacher else None,
        Worker(rank, world, device),
    )
    first = material.calibration
    flow.initialize(first.x[:CALIBRATION_ROWS], _rows(first.context, CALIBRATION_ROWS))
    found.begin(flow, first)
    average = AveragedFlow(flow, config.train.ema)
    return Run(
        config=config,
        flow_config=found.flow_config,
        objective=objective,
        optimizer=make_optimizer(flow, config.train),
        average=average,
        material=material,
        bins=found.bins,
        best=average.flow.state_dict(),
        began=began,
    )


def check_run(config: TrainingConfig, store: Store) -> None:
    """Raises what `prepare_run` would raise, but for faults of the data, which are not read."""
    found = References(config, store)
    found.objective(build_flow(found.flow_config))


def _rows(values: Tensor | None, count: int) -> Tensor | None:
    return None if values is None else values[:count]


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
