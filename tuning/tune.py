"""The trials of a search as a run of Ray Tune."""

from __future__ import annotations

import functools
import logging
import math
import os
import tempfile
import time
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from cluster.ray_tasks import cores_of_this_machine
from cluster.storage import StorageConfig
from flowkd.training.config import ScalingConfig
from flowkd.training.shared import SharedData, share
from tuning.baselines import Baseline
from tuning.callback import StatusCallback
from tuning.candidates import CandidateSpace
from tuning.config import SearchConfig
from tuning.pbt import MEMBER, pbt_scheduler, train_member, trial_values
from tuning.records import SearchRecords
from tuning.searcher import CandidateSearcher
from tuning.suggest import Value
from tuning.trial import train_trial

Point = dict[str, Value]

# Ray Tune neither logs nor restores: a search keeps its own records in the store.
TUNE_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
}
TUNE = "tune"  # in the folder of a search: Ray Tune's own files, where it has several nodes
FREED_SECONDS = 5  # within which Ray knows of resources that were given back
LEAST_SHARE = 0.01  # of a CPU or GPU that Ray can give
MAX_FAILURES = 3  # of a trial: so often it begins again after its worker was lost


def run_trials(
    candidates: CandidateSpace,
    records: SearchRecords,
    storage: StorageConfig,
    callback: StatusCallback,
    baselines: list[Baseline],
    points: list[Point],
    count: int,
) -> None:
    """Runs the trials of a search on the cluster that this process is connected to.

    Trials that have ended are not run again; those that had begun are, with the same parameters.

    Args:
        candidates: The candidates of the search.
        records: Records of the search, which is open.
        storage: Holds the search, its teacher and its data set.
        callback: Follows the trials.
        baselines: The trials that come first.
        points: Parameters of the candidates that come next, before any that is suggested.
        count: Number of trials in all.
    """
    first = [*(each.params or {} for each in baselines), *points]
    begun = [trial.start.params for trial in records.trials()]
    searcher = CandidateSearcher(candidates, baselines, records, begun + first[len(begun) :])
    _fit(candidates, records, storage, searcher, callback, max(count, len(begun)))


def _fit(
    candidates: CandidateSpace,
    records: SearchRecords,
    storage: StorageConfig,
    searcher: CandidateSearcher,
    callback: StatusCallback,
    count: int,
) -> None:
    config = candidates.config
    shared = None if config.scaling.workers > 1 else _share(candidates, storage)
    one = train_member if config.algorithm == "pbt" else train_trial
    trainable = tune.with_parameters(
        functools.partial(one, search=config.name, token=records.number, storage=storage),
        shared=shared,
    )
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ.update(TUNE_ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="flowkd-search-") as folder:
        together = config.algorithm == "pbt"
        resources = (
            _member_resources(config, count) if together else _trial_resources(config.scaling)
        )
        tuner = tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={MEMBER: tune.grid_search(searcher.members(count))} if together else None,
            tune_config=tune.TuneConfig(
                search_alg=None if together else searcher,
                scheduler=_scheduler(config),
                num_samples=1 if together else count,
                max_concurrent_trials=None if together else _max_concurrent(config),
                reuse_actors=config.scaling.workers == 1,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                name="trials",
                verbose=0,
                callbacks=[callback],
                failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
                **_tune_storage(storage, f"{records.folder}/{TUNE}", folder),
            ),
        )
        tuner.fit()


def _name(trial: Trial) -> str:
    return f"trial-{trial_values(trial)['number']:04}"  # as it began


def _tune_storage(storage: StorageConfig, path: str, folder: str) -> dict[str, Any]:
    """Returns where Ray Tune keeps its own files: all nodes must reach it."""
    if len({node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}) == 1:
        return {"storage_path": folder}
    filesystem, root = storage.ray_filesystem()
    return {"storage_path": f"{root}/{path}", "storage_filesystem": filesystem}


def _share(candidates: CandidateSpace, storage: StorageConfig) -> SharedData:
    """Reads and computes what all trials have in common."""
    return share(candidates.shared_run(), storage.store(), candidates.teacher_taps)


def _scheduler(config: SearchConfig) -> TrialScheduler | None:
    if config.algorithm == "pbt":
        return pbt_scheduler(config)
    if config.first_rung is None or config.stopping is None:
        return None
    return Halving(
        time_attr="step",
        metric="bits_per_dim",
        mode="min",
        max_t=config.train.steps,
        grace_period=config.first_rung,
        reduction_factor=config.stopping.reduction_factor,
    )


class Halving(ASHAScheduler):
    """ASHA that holds trials against the baselines, and never stops these."""

    def on_trial_result(self, controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Returns whether a trial goes on."""
        action: str = super().on_trial_result(controller, trial, result)
        if trial_values(trial)["role"] is None or result.get("step", 0) >= self._max_t:
            return action
        return TrialScheduler.CONTINUE


def _trial_resources(scaling: ScalingConfig) -> dict[str, float]:
    if scaling.workers > 1:  # its workers ask for their own
        return {"cpu": 0.01}
    return {"cpu": scaling.cpus, "gpu": 1 if scaling.gpu else 0}


def _member_resources(config: SearchConfig, members: int) -> dict[str, float]:
    """Returns the resources of a trial of a population, all of which train at once.

    Where there are fewer CPUs, or GPUs, than that takes, or where fewer trials may run at once,
    they share them: to take turns would cost seconds at each.
    """
    scaling = config.scaling
    at_once = min(members, config.max_concurrent_trials or members)
    wanted = {"cpu": float(scaling.cpus), "gpu": 1.0 if scaling.gpu else 0.0}
    free = _free({name.upper(): at_once * amount for name, amount in wanted.items()})
    return {
        name: max(LEAST_SHARE, math.floor(100 * free[name.upper()] / members) / 100)
        for name, amount in wanted.items()
        if amount
    }


def _free(wanted: dict[str, float]) -> dict[str, float]:
    """Returns how much of what is wanted is free; what has just ended is so after a moment."""
    total, until = ray.cluster_resources(), time.monotonic() + FREED_SECONDS
    most = {name: min(amount, total.get(name, 0.0)) for name, amount in wanted.items()}
    while True:
        known = ray.available_resources()
        free = {name: min(amount, known.get(name, 0.0)) for name, amount in most.items()}
        if free == most or time.monotonic() > until:
            return free
        time.sleep(0.1)


def _max_concurrent(config: SearchConfig) -> int:
    """Returns how many trials run at once: as many as fit, by GPUs or by CPUs."""
    scaling, total = config.scaling, ray.cluster_resources()
    if scaling.gpu:
        fit = total.get("GPU", 0) // scaling.workers
    else:
        fit = (cores_of_this_machine() or total.get("CPU", 1)) // (scaling.workers * scaling.cpus)
    return max(1, min(int(fit), config.max_concurrent_trials or int(fit)))
