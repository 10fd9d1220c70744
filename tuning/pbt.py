"""Population based training: the worst trials go on from the best, with changed weights."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from cluster.storage import StorageConfig
from cluster.train.checkpoints import read_state, write_state
from flowkd.data.seeds import derive_seed
from flowkd.distillation.schedules import Piecewise
from flowkd.training.config import TrainingConfig
from flowkd.training.inputs import Worker
from flowkd.training.run import Run
from flowkd.training.shared import SharedData
from tuning.config import SearchConfig
from tuning.records import SearchRecords
from tuning.space import WeightSpace
from tuning.trial import CANDIDATE_ERRORS, TrialReporter, train_trial

# Weights by term, each with the step from which they hold.
WeightPath = list[tuple[int, dict[str, float]]]
MEMBER = "member"  # key of a trial's config in Tune


def searched_weights(config: SearchConfig, training: TrainingConfig) -> dict[str, float]:
    """Returns the weights of a candidate that may change while it trains, by term."""
    assert training.distillation is not None
    chosen = training.distillation.weights.at(0.0)
    spaces = config.space.weights.items()
    return {
        term: chosen[term]
        for term, space in spaces
        if isinstance(space, WeightSpace) and chosen[term] > 0
    }


class Population(PopulationBasedTraining):
    """Ray Tune's, but for the baselines, which take no other's place, and none takes theirs."""

    def on_trial_result(self, controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Returns whether a trial goes on."""
        if trial_values(trial)["role"] is not None:
            return TrialScheduler.CONTINUE
        return str(super().on_trial_result(controller, trial, result))


def pbt_scheduler(config: SearchConfig) -> PopulationBasedTraining:
    """Returns Ray Tune's scheduler for a population."""
    generator = random.Random(derive_seed(config.seed, "explore"))
    interval = round(
        config.population.perturbation_interval * config.train.steps / config.validate_every
    )
    return Population(
        time_attr="step",
        metric="bits_per_dim",
        mode="min",
        perturbation_interval=max(1, interval) * config.validate_every,
        quantile_fraction=config.population.quantile_fraction,
        custom_explore_fn=lambda values: explore(values, config, generator),
        log_config=False,
    )


def explore(
    values: dict[str, Any], config: SearchConfig, generator: random.Random
) -> dict[str, Any]:
    """Returns a trial's values with each weight a factor larger or smaller, within its range."""
    member, weights = values[MEMBER], {}
    for term, weight in member["weights"].items():
        space = config.space.weights[term]
        assert isinstance(space, WeightSpace)
        factor = config.population.perturbation_factor ** generator.choice((-1, 1))
        weights[term] = min(max(weight * factor, space.low), space.high)
    return {MEMBER: {**member, "weights": weights}}


def trial_values(trial: Trial) -> dict[str, Any]:
    """Returns the values that a trial is trained with, as `train_trial` takes them."""
    return trial.config.get(MEMBER, trial.config)


def train_member(
    tune_config: dict[str, Any],
    *,
    search: str,
    token: int,
    storage: StorageConfig,
    shared: SharedData,
) -> None:
    """Trains a trial of a population, from a checkpoint if Ray Tune gives it one.

    Args:
        tune_config: Under `member`, the values of `train_trial`, of the trial whose config it has
            by now, and `weights`, those that hold from now on; a baseline has none.
        search: Name of the search.
        token: Number of the search's lease that its driver has.
        storage: Holds the search, its teacher and its data set.
        shared: Data and teacher's targets that all trials have in common.
    """
    records, values = SearchRecords(storage.store(), search, token), tune_config[MEMBER]
    if values["role"] is not None:
        train_trial(values, search=search, token=token, storage=storage, shared=shared)
        return
    number = int(tune.get_context().get_trial_name().rpartition("-")[2])
    reports = TrialReporter(records, number, values["throughput"])
    known = records.ended(number)
    if known is not None:
        reports.repeat(known)
        return
    try:
        train_from(_restored(), values, shared, reports)
    except CANDIDATE_ERRORS as error:
        reports.fail(str(error))


def train_from(
    state: dict[str, Any] | None, values: dict[str, Any], shared: SharedData, reports: TrialReporter
) -> None:
    """Trains a member from its beginning, or from the state of a member whose place it takes.

    Such a state may be that of the last step, if the other ended before Ray Tune knew: then there
    is nothing to train, and the member ends as that one did.
    """
    config = TrainingConfig.model_validate(values["training"])
    torch.set_num_threads(config.scaling.cpus)
    path: WeightPath = state["path"] if state else []
    began = time.perf_counter()
    worker = Worker(device="cuda" if config.scaling.gpu else "cpu")
    run = shared.prepare(with_weights(config, values["weights"]), worker)
    if state:
        run.load_state_dict(state["run"])
        reports.curve, reports.seconds = state["curve"], state["seconds"]
    if run.step == config.train.steps:
        reports.curve = reports.curve[:-1]
        _report(run, config, path, reports)
        return
    path = _extended(path, run.step, values["weights"])
    for result in run.steps():
        if "validation_bits_per_dim" in run.record(result):
            reports.seconds += time.perf_counter() - began
            _report(run, config, path, reports)
            began = time.perf_counter()


def _report(run: Run, config: TrainingConfig, path: WeightPath, reports: TrialReporter) -> None:
    """Reports a validation, with the state from which another member may go on."""
    last = run.step == config.train.steps
    training = with_schedules(config, path).model_dump(mode="json") if last else None
    with tempfile.TemporaryDirectory() as folder:
        curve = [*reports.curve, (run.step, run.best_bits_per_dim)]
        state = {
            "run": run.state_dict(), "path": path, "curve": curve, "seconds": reports.seconds,
        }  # fmt: skip
        write_state(state, Path(folder))
        checkpoint = tune.Checkpoint.from_directory(folder)
        reports.add(run.step, run.best_bits_per_dim, last, training, checkpoint)


def _extended(path: WeightPath, step: int, weights: dict[str, float]) -> WeightPath:
    """Returns a path whose last weights, from a step on, are the given ones."""
    before = [point for point in path if point[0] < step]
    return before if before and before[-1][1] == weights else [*before, (step, weights)]


def with_weights(
    config: TrainingConfig, weights: Mapping[str, float | Piecewise]
) -> TrainingConfig:
    """Returns a run with some of its weights replaced."""
    assert config.distillation is not None
    all_ = config.distillation.weights.model_copy(update=dict(weights))
    objective = config.distillation.model_copy(update={"weights": all_})
    return config.model_copy(update={"objective": objective})


def with_schedules(config: TrainingConfig, path: WeightPath) -> TrainingConfig:
    """Returns a run whose weights follow a path, as one piecewise schedule each."""
    steps = config.train.steps
    until = (*(step / steps for step, _ in path[1:]), 1.0)
    followed = {
        term: Piecewise(values=tuple(weights[term] for _, weights in path), until=until)
        for term in path[0][1]
    }
    return with_weights(config, followed)


def _restored() -> dict[str, Any] | None:
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return read_state(Path(folder), "cpu")
