"""Short trainings of a run, by which validation chooses its rate and, of few rows, more."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from flowkd.distillation.cache import CacheConfig
from flowkd.distillation.objective import MaximumLikelihoodConfig
from flowkd.distillation.schedules import LossWeights
from flowkd.distillation.teacher_samples import SamplesConfig
from flowkd.errors import NonFiniteError
from flowkd.flows.build import describe_flow
from flowkd.flows.configs import AnyFlowConfig
from flowkd.training.choices.climb import first_gains
from flowkd.training.choices.weights import encodes_in_one_pass
from flowkd.training.config import NO_DATA, TrainingConfig
from flowkd.training.inputs import RunData, RunInputs, Worker
from flowkd.training.prepare import prepare_run
from flowkd.training.resolved import ResolvedRun
from flowkd.training.run import Run

# Of a trial: enough steps to order the rates, on all data sets of docs/results/study.md.
TRIAL_SHARE, LEAST_STEPS, MOST_STEPS = 0.1, 50, 200
# Fewer rows are learnt by heart: what keeps a flow from it is looked for, too, and for longer.
FEW_ROWS, FEW_STEPS = 2000, 300
DECAYS = (0.001, 0.01, 0.1)  # shares of the weights that a step takes off
NARROWER = (1 / 2, 1 / 4, 1 / 8)


@dataclass
class Trials:
    """Short trainings of one flow on the same inputs, on data alone where there are any."""

    run: ResolvedRun
    data: RunData
    worker: Worker
    inputs: RunInputs
    others: dict[str, float | None] = field(default_factory=dict)

    @property
    def few(self) -> bool:
        """Whether there are so few rows that a flow learns them by heart."""
        return has_few_rows(self.run)

    def score(
        self, rate: float, weight_decay: float | None = None, flow: AnyFlowConfig | None = None
    ) -> float:
        """Returns bits per dimension of validation after a short training; of few rows, the best.

        For of few rows, the weights that are kept are those of a training that was stopped early.
        """
        run: Run = prepare_run(
            varied(self.run, rate, weight_decay, flow), self.data, self.worker, inputs=self.inputs
        )
        try:
            for result in run.steps():
                if run.at_its_end or (self.few and result.step % self.run.validate_every == 0):
                    run.keep_if_best(run.validation_nats())
        except NonFiniteError:
            return math.inf
        return run.best_bits_per_dim

    def regularised(self, rate: float, known: float) -> tuple[float | None, AnyFlowConfig | None]:
        """Returns the weight decay, and the flow of narrower networks, that validation chooses.

        Args:
            rate: Of all these trials.
            known: Bits per dimension of a trial at this rate without either.
        """
        if not self.few:
            return None, None
        decay = self.run.config.train.weight_decay
        chosen: AnyFlowConfig | None = None
        if self.run.flow_by_data:
            flows: list[AnyFlowConfig] = [self.run.flow.scaled(1, each) for each in NARROWER]

            def narrower(flow: AnyFlowConfig) -> float:
                return self._told(describe_flow(flow), self.score(rate, decay, flow))

            count = first_gains(flows, narrower, known)
            if count:
                chosen = flows[count - 1]
                known = min(known, *(bits for bits in self.others.values() if bits is not None))
        if decay is None:

            def decaying(decay: float) -> float:
                return self._told(f"weight decay {decay:g}", self.score(rate, decay, chosen))

            decays = [float(f"{share / rate:.2g}") for share in DECAYS]
            count = first_gains(decays, decaying, known)
            decay = decays[count - 1] if count else 0.0
        return decay, chosen

    def _told(self, what: str, bits: float) -> float:
        self.others[what] = bits if math.isfinite(bits) else None
        return bits


def varied(
    run: ResolvedRun, rate: float, weight_decay: float | None, flow: AnyFlowConfig | None
) -> ResolvedRun:
    """Returns a run with another rate, decay and flow; None stays as it is."""
    changes: dict[str, Any] = {"learning_rate": rate}
    if weight_decay is not None:
        changes["weight_decay"] = weight_decay
    config: dict[str, Any] = {"train": run.config.train.model_copy(update=changes)}
    whole: dict[str, Any] = {}
    if flow is not None:
        whole["flow"] = flow
        config["flow"] = flow
    whole["config"] = run.config.model_copy(update=config)
    return run.model_copy(update=whole)


def has_few_rows(run: ResolvedRun) -> bool:
    """Tells whether a run has so few rows that a flow learns them by heart."""
    return run.train_rows is not None and run.train_rows < FEW_ROWS


def short_run(run: ResolvedRun) -> ResolvedRun:
    """Returns a run like this one, short, and on data alone where there are any.

    It begins as this one does: what was folded is lost at a rate that is best for a flow at random.
    A student that encodes rows column by column is tried on its own terms: data alone take it long.
    """
    train = run.config.train
    most = FEW_STEPS if has_few_rows(run) else MOST_STEPS
    steps = round(min(max(TRIAL_SHARE * train.steps, LEAST_STEPS), most))
    changes: dict[str, Any] = {
        "train": train.model_copy(
            update={
                "steps": steps, "plateau": None, "schedule": "cosine", "warmup_steps": steps // 10,
                "compile": False,  # it takes longer than the trial
            }
        )
    }  # fmt: skip
    whole: dict[str, Any] = {}
    distillation = run.config.distillation
    if run.config.dataset != NO_DATA and encodes_in_one_pass(run.flow):
        if distillation is not None and run.source is not None:
            changes["objective"] = distillation.model_copy(
                update={
                    "hints": (), "weights": LossWeights(nll=1.0), "cache": CacheConfig(),
                    "samples": SamplesConfig(),
                }
            )  # fmt: skip
        else:
            changes["objective"] = MaximumLikelihoodConfig()
            whole = {"teacher": None, "source": None}
    config: TrainingConfig = run.config.model_copy(update=changes)
    return run.model_copy(update={"config": config, **whole})
