"""The search algorithm that Ray Tune asks for trials: the baselines, and then Optuna."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from ray.tune.search.optuna import OptunaSearch

from flowkd.data.seeds import derive_seed
from tuning.baselines import Baseline
from tuning.candidates import CandidateSpace
from tuning.config import SearchConfig
from tuning.pbt import searched_weights
from tuning.records import SearchRecords, TrialStart
from tuning.suggest import OptunaSuggester

MODES = {"bits_per_dim": "min", "throughput": "max"}


class CandidateSearcher(OptunaSearch):
    """Suggests the baselines, then candidates of Optuna; each is in the store before it begins.

    Optuna is told of a trial that was stopped early as pruned at the step that it reached, not as
    if its bits per dimension were those of a whole training. A baseline that the space would not
    draw is none of its points: Optuna is told nothing of it, but that its number is taken.

    Args:
        candidates: The candidates of the search.
        baselines: The trials that come first.
        records: Records of the search.
        first: Parameters of the trials that come first, the baselines' included: those begun
            before, or a grid.
    """

    def __init__(
        self,
        candidates: CandidateSpace,
        baselines: Sequence[Baseline],
        records: SearchRecords,
        first: Sequence[dict[str, Any]],
    ) -> None:
        self._candidates, self._records = candidates, records
        self._baselines = baselines
        config = candidates.config
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        objectives = list(config.objectives)
        alone = len(objectives) == 1
        modes = [MODES[name] for name in objectives]
        super().__init__(
            space=self._suggest,
            metric=objectives[0] if alone else objectives,
            mode=modes[0] if alone else modes,
            points_to_evaluate=list(first) or None,
            sampler=_sampler(config, len(first)),
        )

    def _suggest(self, trial: Any) -> dict[str, Any]:
        number = trial.number
        name = f"search-{self._candidates.config.name}-{number:04}"
        baseline = self._baselines[number] if number < len(self._baselines) else None
        if baseline is None or baseline.params is not None:
            candidate = self._candidates.draw(OptunaSuggester(trial), name)
        role = None
        if baseline is not None:
            candidate, role = baseline.candidate, baseline.role
        training = candidate.training.model_dump(mode="json")
        rate = candidate.shape.throughput
        throughput = rate if rate == rate else None  # JSON has no NaN
        size = candidate.shape.parameters
        self._records.begin(
            TrialStart(number, dict(trial.params), training, size, throughput, role)
        )
        values = {
            "number": number, "training": training, "throughput": throughput, "role": role,
        }  # fmt: skip
        if self._candidates.config.algorithm == "pbt" and role is None:
            values["weights"] = searched_weights(self._candidates.config, candidate.training)
        return values

    def members(self, count: int) -> list[dict[str, Any]]:
        """Suggests a population at once: Ray Tune takes no search algorithm with its scheduler."""
        return [self._suggest(self._ot_study.ask()) for _ in range(count)]

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tells Optuna how a trial ended."""
        steps = self._candidates.config.train.steps
        told = result or {}
        asked = self._ot_trials[trial_id]
        if asked.number < len(self._baselines) and self._baselines[asked.number].params is None:
            self._ot_study.tell(asked, state=TrialState.FAIL)
            self._completed_trials.add(trial_id)
            return
        whole = error or told.get("step", steps) >= steps
        if whole or told.get("failed") or isinstance(self.metric, list):
            super().on_trial_complete(trial_id, result, error)
            return
        self._ot_study.tell(asked, state=TrialState.PRUNED)
        self._completed_trials.add(trial_id)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Ray Tune pickles it for a restore, which is not used

    def save(self, checkpoint_path: str) -> None:
        """Writes an empty file for Ray Tune: all that is kept is in the store, and no pickle."""
        Path(checkpoint_path).touch()


def _sampler(config: SearchConfig, begun: int) -> BaseSampler:
    """Returns the sampler; a resumed search goes on with other random numbers."""
    seed = derive_seed(config.seed, "sampler", begun) % 2**32
    if config.algorithm != "tpe":
        return RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
