"""A training in progress: its steps, its metrics, its best weights, what a checkpoint holds."""

from __future__ import annotations

import copy
import math
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.errors import NonFiniteError
from flowkd.evaluation.metrics import bits_per_dim
from flowkd.flows.round_trip import undo_error
from flowkd.registry.artifacts import write_artifact
from flowkd.registry.card import Lineage
from flowkd.store.lease import Token
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.horizon import Horizon
from flowkd.training.inputs import RunInputs
from flowkd.training.lease import finish
from flowkd.training.loop import AveragedFlow, StepResult, train
from flowkd.training.outcome import warning_of
from flowkd.training.resolved import ResolvedRun

# Of the flow, which have to undo themselves at each validation.
SAMPLES = 128
# Adds up values of the same shape over all workers; every one of them calls it, and gets the sum.
OverWorkers = Callable[[Tensor], Tensor]


def alone(values: Tensor) -> Tensor:
    """Adds up over the only worker."""
    return values


@dataclass
class Run:
    """A training in progress: all that a checkpoint holds and a resumed run needs.

    Attributes:
        resolved: What is trained, on what.
        objective: What it is trained to do, with the flow.
        optimizer: Adam over the flow's parameters.
        average: Of the flow's weights, which is what is judged and kept.
        inputs: What it is given.
        horizon: Where it ends.
        step: Number of steps done.
        best: Weights of the average with the best validation so far.
        best_bits_per_dim: Their bits per dimension on the validation rows.
        best_step: Steps done when they were judged.
        warning: What the last validation has to warn of; None for nothing.
        dropped: How many teacher samples to learn from were of no use, on all workers, as far as
            they are counted: at every line of metrics and every checkpoint.
        remarks: What is to be known of how it began.
        before_end: What was best before a validation at the end that no longer run would have; None
            where there was none.
        began: This process's CPU clock when the run was prepared, in seconds.
    """

    resolved: ResolvedRun
    objective: MaximumLikelihood | Distillation
    optimizer: torch.optim.Optimizer
    average: AveragedFlow
    inputs: RunInputs
    horizon: Horizon
    best: dict[str, Tensor]
    best_bits_per_dim: float = math.inf
    best_step: int = 0
    warning: str | None = None
    dropped: int = 0
    step: int = 0
    remarks: list[str] = field(default_factory=list)
    before_end: dict[str, Any] | None = None
    began: float = field(default_factory=time.process_time)

    @property
    def config(self) -> TrainingConfig:
        """Of the run, its references pinned."""
        return self.resolved.config

    def steps(self, objective: nn.Module | None = None) -> Iterator[StepResult]:
        """Yields the steps that are left; `objective` may be DDP around this run's own."""
        for result in train(
            objective or self.objective,
            self.inputs.batches,
            self.optimizer,
            self.config.train,
            start=self.step,
            average=self.average,
            horizon=self.horizon,
            reads=self._reads,
        ):
            self.step = result.step
            yield result

    def _reads(self, step: int) -> bool:
        """Tells whether what was made is looked at after a step: on a GPU, where it is wanted."""
        if self.inputs.calibration.x.device.type == "cpu":
            return True
        config = self.config
        every = (config.log_every, self.resolved.validate_every, config.checkpoint_every)
        return step >= self.horizon.last or any(step % each == 0 for each in every)

    @torch.no_grad()
    def validation_nats(self) -> Tensor:
        """Returns the sum of log p over this worker's validation rows and their number, (2,)."""
        flow = self.average.flow
        device = next(flow.parameters()).device
        rows = self.inputs.validation
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
            self.best_bits_per_dim, self.best_step = bits, self.step
            self.best = copy.deepcopy(self.average.flow.state_dict())
        return bits

    def count_dropped(self, over_workers: OverWorkers = alone) -> None:
        """Counts the fresh samples that all workers have dropped since this was last called."""
        fresh = self.inputs.fresh
        if fresh is not None:
            self.dropped += int(over_workers(torch.tensor([fresh.take_dropped()])).item())

    def record(self, result: StepResult, over_workers: OverWorkers = alone) -> dict[str, Any]:
        """Returns a step's line of metrics, empty if none is due; validates if that is due.

        Args:
            result: Of the step just done, which differs between workers in its loss and terms.
            over_workers: Adds up over them, if there are several.

        Raises:
            NonFiniteError: Validation data whose likelihood is NaN or 0.
        """
        line: dict[str, Any] = {}
        if self.is_due(self.config.log_every):
            self.count_dropped(over_workers)
            ours = [1.0, result.loss, *result.terms.values()]
            workers, *sums = over_workers(torch.tensor(ours, dtype=torch.float64)).tolist()
            line |= {
                name: value / workers
                for name, value in zip(["loss", *result.terms], sums, strict=True)
            }
            line["gradient_norm"] = result.gradient_norm
            line["learning_rate"] = result.learning_rate
            line["seconds"] = result.seconds
        if self.is_due(self.resolved.validate_every):
            line |= self._judge(over_workers)
        if not line:
            return {}
        if self.horizon.found:
            line["ends_at"] = self.horizon.last
        elif self.config.train.plateau is not None:
            line["ends_no_earlier"] = self.horizon.last
        return {"step": self.step, "time": time.time(), **line}

    def _judge(self, over_workers: OverWorkers) -> dict[str, Any]:
        off_schedule = self.step % self.resolved.validate_every != 0
        if off_schedule:
            self.before_end = self._kept()
        bits = self.keep_if_best(over_workers(self.validation_nats()))
        rows = self.inputs.probe
        error = undo_error(self.average.flow, rows.x, rows.context, SAMPLES)
        best = self.best_step, self.best_bits_per_dim
        self.warning = warning_of(self.step, bits, *best, error)
        warned = {} if self.warning is None else {"warning": self.warning}
        noted = {"at_end": True} if off_schedule else {}
        self.horizon.validated(self.step, bits)
        return {"validation_bits_per_dim": bits, "round_trip_error": error, **noted, **warned}

    def _kept(self) -> dict[str, Any]:
        return {
            "best": self.best,
            "best_bits_per_dim": self.best_bits_per_dim,
            "best_step": self.best_step,
        }

    @property
    def at_its_end(self) -> bool:
        """Whether no step is left, as far as that is known."""
        return self.step >= self.horizon.last

    def is_due(self, every: int) -> bool:
        """Tells whether something that happens every so many steps, and at the end, is due."""
        return self.step % every == 0 or self.at_its_end

    def state_dict(self) -> dict[str, Any]:
        """Returns what a checkpoint holds: tensors, numbers and plain containers."""
        return {
            "step": self.step,
            "flow": self.objective.flow.state_dict(),
            "average": self.average.flow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **self._kept(),
            "before_end": self.before_end,
            "warning": self.warning,
            "dropped": self.dropped,
            "horizon": self.horizon.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint."""
        self.objective.flow.load_state_dict(state["flow"])
        self.average.flow.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        # A run that goes on from its end chooses among what it would have validated anyway.
        self.horizon.load_state_dict(state["horizon"])
        kept = state["before_end"] if state["step"] < self.horizon.last else None
        kept = kept or state
        self.best, self.best_bits_per_dim = kept["best"], kept["best_bits_per_dim"]
        self.best_step, self.warning = kept["best_step"], state["warning"]
        self.dropped = state["dropped"]
        self.step = state["step"]

    def _remarks(self) -> list[str]:
        ours = [] if self.warning is None else [f"In training, {self.warning}."]
        teacher = self.resolved.teacher
        theirs = teacher.remarks if teacher is not None else []
        return [*self.remarks, *ours, *(f"Of its teacher: {remark}" for remark in theirs)]

    def finish(self, store: Store, seconds: float, token: Token, commit: str | None = None) -> None:
        """Makes the best weights the run's result, `runs/NAME/result`.

        Raises:
            FencedError: Another process has taken the run over.
        """
        folder = f"runs/{self.config.name}/result"
        # Who was fenced out may write here, too, and must not touch what counts.
        within = f"{token.name}-{uuid.uuid4().hex[:6]}"
        flow = copy.deepcopy(self.average.flow)
        flow.load_state_dict(self.best)
        teacher = self.resolved.teacher
        write_artifact(
            store,
            folder,
            flow.cpu(),
            self.resolved.flow,
            training=self.config.model_dump(mode="json", exclude={"tracking"}),
            metrics={
                "validation_bits_per_dim": self.best_bits_per_dim,
                "steps": self.step,
                "best_step": self.best_step,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(time.process_time() - self.began, 1),
                **({"samples_dropped": self.dropped} if self.config.learns_from_samples else {}),
            },
            remarks=self._remarks(),
            lineage=Lineage(
                dataset=self.config.dataset,
                run=self.config.name,
                teacher=teacher.reference if teacher else None,
                commit=commit,
                bins=self.resolved.bins,
                groups=self.resolved.groups,
            ),
            data=self.resolved.facts,
            within=within,
        )
        finish(token, within, self.step)
