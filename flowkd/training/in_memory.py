"""A run of rows in memory: trained at once, in this process, with a progress bar and a history."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from flowkd.distillation.objective import ObjectiveConfig
from flowkd.flows.build import config_of
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.foreign.adapters.base import Adapter
from flowkd.registry.pins import PinnedArtifact
from flowkd.training.choices.rate import with_rate
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import RunData, Worker
from flowkd.training.loop import StepResult
from flowkd.training.outcome import kept_weights
from flowkd.training.prepare import prepare_run
from flowkd.training.resolved import ResolvedRun
from flowkd.training.train_config import TrainConfig

IN_MEMORY = "in-memory"  # stands where a run in a store has its name


@dataclass
class History:
    """How a training went.

    Attributes:
        losses: The weighted sum of the loss terms at each step, in nats per dimension.
        validation: (steps, bits per dimension on the validation rows after them).
        warning: What the last validation has to warn of, as that it has risen; None for nothing.
        remarks: What makes the density of a table's columns mean little, a sentence each.
    """

    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    warning: str | None = None
    remarks: list[str] = field(default_factory=list)

    @property
    def best(self) -> tuple[int, float]:
        """The validation whose weights are kept: after how many steps, and its bits per dim."""
        return min(self.validation, key=lambda point: point[1])

    def __repr__(self) -> str:
        step, bits = self.best
        return f"History({len(self.losses):,} steps; best {bits:.3f} bits/dim after {step:,})"


def in_memory_run(
    student: Flow | FlowConfig,
    objective: ObjectiveConfig,
    recipe: TrainConfig,
    batch_size: int,
    validate_every: int | None,
    seed: int,
    *,
    teacher: Flow | Adapter | None,
) -> ResolvedRun:
    """Returns the run of flows that no store has.

    Args:
        student: A flow that is there, or the config of one to be made.
        objective: What it minimises.
        recipe: How it is trained.
        batch_size: Rows of a batch.
        validate_every: Steps between validations; None for a tenth of all.
        seed: Of the order of rows, noise and samples.
        teacher: The flow that it learns from, if there is one.
    """
    flow = config_of(student) if isinstance(student, Flow) else student
    config = TrainingConfig(
        name=IN_MEMORY,
        dataset=IN_MEMORY,
        flow=flow,
        objective=objective,
        train=recipe,
        batch_size=batch_size,
        validate_every=validate_every or max(1, recipe.steps // 10),
        seed=seed,
    )
    pinned = None
    if isinstance(teacher, Flow):
        pinned = PinnedArtifact(reference=IN_MEMORY, weights="", flow=config_of(teacher))
    begins = config.distillation is not None and config.distillation.source is not None
    return ResolvedRun(config=config, flow=flow, teacher=pinned, source=pinned if begins else None)


def train_in_memory(
    run: ResolvedRun, data: RunData, flow: Flow | None, progress: bool
) -> tuple[Flow, History]:
    """Trains a run, and returns its flow with the best weights and how it went.

    Args:
        run: As `in_memory_run` makes it.
        data: Its rows, and the teacher.
        flow: What is trained; None: a new flow of the run's config, on the teacher's device.
        progress: Whether a terminal shows a progress bar.
    """
    device = next((flow or cast(Flow, data.teacher)).parameters()).device
    run = with_rate(run, data, worker=Worker(device=device))
    training = prepare_run(run, data, Worker(device=device), flow)
    history, console = History(), Console()
    unread: list[StepResult] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    shown = progress and (console.is_terminal or console.is_jupyter)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not shown) as bar:
        train = run.config.train
        task = bar.add_task("training", total=train.steps if train.plateau is None else None)
        for result in training.steps():
            unread.append(result)
            line = training.record(result)
            if "ends_at" in line:
                bar.update(task, total=line["ends_at"])
            if line:  # before, it would wait for a GPU at each step
                history.losses += [each.loss for each in unread]
                unread.clear()
            if "validation_bits_per_dim" in line:
                history.validation.append((result.step, line["validation_bits_per_dim"]))
                bar.update(task, description=f"{history.best[1]:.3f} bits/dim")
            bar.advance(task)
    trained = training.objective.flow
    trained.load_state_dict(training.best)
    history.warning = training.warning
    if history.warning is not None:
        kept = kept_weights(training.best_step, len(history.losses), training.best_bits_per_dim)
        warnings.warn(f"{history.warning}; {kept}", stacklevel=3)
    return trained, history
