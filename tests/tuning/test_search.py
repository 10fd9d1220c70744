"""A search on real Ray: its trials, what it survives, and what becomes of its best."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import yaml
from ray.util.placement_group import placement_group, remove_placement_group

from cluster.local_record import LocalCluster
from cluster.storage import StorageConfig
from flowkd.config import dump_config
from flowkd.distillation.objective import DistillationConfig
from flowkd.distillation.schedules import Piecewise
from flowkd.errors import ConfigError, FlowkdError
from flowkd.registry.aliases import alias_version
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from tests.support.queues import wait_for
from tests.support.searches import searching, space
from tests.support.servers.faults import FaultProxy
from tests.support.small_runs import furnish, prepared
from tuning.config import SearchConfig
from tuning.records import SearchRecords, Trial, best_of
from tuning.search import search
from tuning.status import read_status

Curve = list[tuple[int, float]]
pytestmark = pytest.mark.usefixtures("ray_driver")


@pytest.fixture
def storage(local_store: Store) -> StorageConfig:
    furnish(local_store)
    return StorageConfig(uri=local_store.uri)


def trials_of(config: SearchConfig, storage: StorageConfig) -> list[Trial]:
    return SearchRecords(storage.store(), config.name).trials()


def curve(training: dict[str, Any], storage: StorageConfig) -> Curve:
    """Trains in this process what a trial trained, and returns what it should have said."""
    config = TrainingConfig.model_validate(training)
    run = prepared(config, storage.store())
    found = []
    for result in run.steps():
        if "validation_bits_per_dim" in run.record(result):
            found.append((run.step, run.best_bits_per_dim))
    return found


def assert_alike(got: Curve, wanted: Curve, tolerance: float) -> None:
    assert [step for step, _ in got] == [step for step, _ in wanted]
    assert [v for _, v in got] == pytest.approx([v for _, v in wanted], rel=tolerance)


def test_a_search_ends_in_a_published_model_with_its_lineage(storage: StorageConfig) -> None:
    config = searching(
        "whole", train={"steps": 40, "warmup_steps": 2, "ema_decay": 0.9}, validate_every=10,
        cache={"kind": "memory"}, stopping=None, trials=4,
        final={
            "model": "walks", "steps": 8, "throughput_seconds": 0.2, "max_round_trip_error": 0.1,
            "force": True,  # 8 steps do not make a flow of walks better than a Gaussian
        },
    )  # fmt: skip
    outcome = search(config, storage)
    store, trials = storage.store(), trials_of(config, storage)
    assert [trial.start.number for trial in trials] == list(range(6))
    assert [trial.start.role for trial in trials] == ["plain", "default", *[None] * 4]
    assert {trial.state for trial in trials} == {"finished"}
    best = best_of(trials)
    assert best is not None
    assert best.end is not None
    assert_alike(best.end.curve, curve(best.start.training, storage), 1e-5)
    assert outcome is not None
    assert outcome["trial"] == best.start.number
    assert set(outcome["figures"]) >= {"teacher", "plain", "distilled"}
    for baseline in trials[:2]:
        assert baseline.end is not None
        assert_alike(baseline.end.curve, curve(baseline.start.training, storage), 1e-5)
        assert best.bits_per_dim <= baseline.bits_per_dim
    artifact = load_artifact(store, f"runs/search-whole-{best.start.number:04}-best")
    assert artifact.metrics["steps"] == 8
    assert outcome["refused"] is None
    version = alias_version(store, "walks", "best")
    assert outcome["published"] == f"models/walks@{version}"
    lineage = load_artifact(store, "models/walks@best").manifest.lineage
    kept = TrainingConfig.model_validate(trials[outcome["kept"]].start.training)
    teacher = None if kept.distillation is None else "runs/teacher"  # the plain one may be best
    assert (lineage.search, lineage.teacher) == ("whole", teacher)
    status = read_status(store, "whole")
    assert (status.stage, status.best, status.outcome) == ("done", best.start.number, outcome)
    assert [row.state for row in status.rows] == [trial.state for trial in trials]
    assert status.gains == {
        str(each.start.role): each.bits_per_dim - best.bits_per_dim for each in trials[:2]
    }

    with pytest.raises(ConfigError, match=r"search .whole. exists in .*: add --resume"):
        search(config, storage)
    written = _times(store, "whole")
    assert search(config, storage, resume=True) == outcome
    assert _times(store, "whole") == written
    changed = config.model_copy(update={"seed": 1})
    with pytest.raises(ConfigError, match="had another seed: choose another name"):
        search(changed, storage, resume=True)


def _times(store: Store, name: str) -> dict[str, float]:
    trials = SearchRecords(store, name).trials()
    return {str(each.start.number): each.end.time for each in trials if each.end}


def test_a_killed_search_goes_on_and_runs_no_finished_trial_again(
    storage: StorageConfig, ray_cluster: LocalCluster, tmp_path: Path
) -> None:
    config = searching(
        "killed", train={"steps": 300, "warmup_steps": 2, "ema_decay": 0.9}, validate_every=100,
        trials=6, max_concurrent_trials=2,
    )  # fmt: skip
    file = tmp_path / "search.yaml"
    file.write_text(dump_config(config), encoding="utf-8")
    command = [sys.executable, "-m", "jobs.search", "--config", str(file), "--store", storage.uri]
    store = storage.store()
    first = subprocess.Popen(command, start_new_session=True)
    wait_for(lambda: len(_times(store, "killed")) >= 3)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    done, begun = _times(store, "killed"), trials_of(config, storage)
    assert 3 <= len(done) < 8
    subprocess.run([*command, "--resume"], check=True, timeout=200)
    trials = trials_of(config, storage)
    assert [trial.start for trial in trials][: len(begun)] == [trial.start for trial in begun]
    assert len(trials) == 8
    assert {trial.state for trial in trials} == {"finished", "stopped"}
    assert [trial.state for trial in trials[:2]] == ["finished"] * 2
    after = _times(store, "killed")
    assert {name: after[name] for name in done} == done
    parameters = {yaml.safe_dump(trial.start.params) for trial in trials[2:]}
    assert len(parameters) == 6  # what came first was not proposed once more


def test_a_lost_worker_costs_no_trial(
    storage: StorageConfig, ray_cluster: LocalCluster, tmp_path: Path
) -> None:
    config = searching(
        "lost", train={"steps": 1500, "warmup_steps": 2, "ema_decay": 0.9}, validate_every=500,
        trials=1, max_concurrent_trials=1, stopping=None,
    )  # fmt: skip
    killed: list[int] = []

    def kill_once(status: Any) -> None:
        running = [row for row in status.rows if row.state == "running"]
        if running and not killed:
            killed.extend(_kill_workers(ray_cluster, "train_trial"))

    search(config, storage, show=kill_once)
    assert killed
    trials = trials_of(config, storage)
    assert len(trials) == 3
    assert all(trial.state in ("finished", "stopped") for trial in trials)


def _kill_workers(cluster: LocalCluster, name: str) -> list[int]:
    """Kills the processes of a cluster in which Ray Tune trains, and returns them."""
    found = []
    for process in psutil.Process(cluster.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            title = " ".join(process.cmdline())
            if title.startswith("ray::") and ("ImplicitFunc" in title or name in title):
                process.kill()
                found.append(process.pid)
    return found


def test_a_trial_that_diverges_is_recorded_and_the_search_goes_on(storage: StorageConfig) -> None:
    rates = {"low": 0.01, "high": 1e30, "grid_points": 2}
    only_rates = {"learning_rate": rates, "weights": {"latent": 0.1}}
    config = searching("diverges", algorithm="grid", trials=2, space=only_rates, stopping=None)
    search(config, storage)
    _, _, good, bad = trials_of(config, storage)
    assert good.state == "finished"
    assert bad.end is not None
    assert bad.state == "failed"
    assert "learning_rate" in bad.end.reason or "infinite" in bad.end.reason
    assert best_of([bad, good]) == good
    row = read_status(storage.store(), "diverges").rows[3]
    assert (row.state, row.note) == ("failed", bad.end.reason)

    only_bad = {**only_rates, "learning_rate": {"low": 1e29, "high": 1e30, "grid_points": 2}}
    train = {**config.train.model_dump(), "learning_rate": 1e29}  # of the baselines
    changes = {"name": "bad", "space": only_bad, "train": train}
    with pytest.raises(FlowkdError, match="none of 4 trials was trained to its end; reasons"):
        search(config.model_validate({**config.model_dump(), **changes}), storage)
    assert read_status(storage.store(), "bad").stage.startswith("ended by FlowkdError")


def test_a_store_that_is_away_for_30_s_is_outlasted(
    proxied_store: Store, proxy: FaultProxy
) -> None:
    furnish(Store(proxied_store.uri))
    storage = StorageConfig(uri=proxied_store.uri, options=proxied_store.options, retry_seconds=60)
    config = searching(
        "away", train={"steps": 300, "warmup_steps": 2, "ema_decay": 0.9}, validate_every=100,
        trials=4,
    )  # fmt: skip
    gone: list[bool] = []

    def go_away(status: Any) -> None:
        if status.rows and not gone:
            gone.append(True)
            proxy.fail_for(30, "unavailable")

    search(config, storage, show=go_away)
    assert gone
    trials = trials_of(config, storage)
    assert len(trials) == 6
    assert all(trial.state in ("finished", "stopped") for trial in trials)


def test_trials_of_two_workers_learn_what_one_learns(storage: StorageConfig) -> None:
    rate = {"learning_rate": {"low": 0.01, "high": 0.02}, "weights": {"latent": 0.1}}
    config = searching(
        "workers",
        trials=1,
        space=rate,
        scaling={"workers": 2},
        max_concurrent_trials=1,
        stopping=None,
    )
    search(config, storage)
    _, _, trial = trials_of(config, storage)
    assert trial.end is not None
    wanted = curve({**trial.start.training, "scaling": {}}, storage)
    assert_alike(trial.end.curve, wanted, 1e-4)
    assert trial.end.seconds > 0


@contextmanager
def others_on_the_cluster(cpus: float) -> Iterator[None]:
    """Holds CPUs, as what else runs there does."""
    if cpus <= 0:
        yield
        return
    group = placement_group([{"CPU": 1}] * int(cpus))
    assert group.wait(60)
    yield
    remove_placement_group(group)


def schedule_of(trial: Trial) -> Piecewise:
    found = TrainingConfig.model_validate(trial.training)
    assert isinstance(found.objective, DistillationConfig)
    schedule = found.objective.weights.latent
    assert isinstance(schedule, Piecewise)
    return schedule


def test_a_population_finds_a_schedule_that_can_be_trained_again(storage: StorageConfig) -> None:
    weights = {"latent": {"low": 0.001, "high": 10}, "density": {"low": 0.001, "high": 10}}
    rate = {"low": 0.001, "high": 0.1}
    # On a busy machine members may train one after the other, and none takes another's place.
    for attempt in range(3):
        config = searching(
            f"population-{attempt}", algorithm="pbt", trials=4, validate_every=10,
            space={"weights": weights, "learning_rate": rate},
            train={"steps": 100, "warmup_steps": 2, "ema_decay": 0.9},
        )  # fmt: skip
        with others_on_the_cluster(cpus=ray.available_resources()["CPU"] - 1):
            search(config, storage)  # whose members share what is left
        trials = trials_of(config, storage)
        assert [trial.state for trial in trials] == ["finished"] * 6
        if any(len(schedule_of(trial).values) > 1 for trial in trials[2:]):
            break
    else:
        pytest.fail("no member of three populations took another's place")
    for trial in trials[:2]:
        assert trial.training == trial.start.training
    for trial in trials[2:]:
        assert trial.end is not None
        assert all(0.001 <= value <= 10 for value in schedule_of(trial).values)
        assert_alike(trial.end.curve, curve(trial.training, storage), 1e-4)
    written = _times(storage.store(), config.name)
    search(config, storage, resume=True)
    assert _times(storage.store(), config.name) == written
    assert trials_of(config, storage) == trials


def test_a_pareto_search_stops_no_trial(storage: StorageConfig) -> None:
    config = searching("front", objectives=["bits_per_dim", "throughput"], trials=2)
    search(config, storage)
    trials = trials_of(config, storage)
    assert [trial.state for trial in trials] == ["finished"] * 4
    assert all(trial.start.throughput for trial in trials)


def test_refused_before_anything_starts(storage: StorageConfig) -> None:
    for changes in ({"budget": {"parameters": 1}}, {"space": space(hints={"student": ["x"]})}):
        with pytest.raises(ConfigError):
            search(searching("refused", **changes), storage)
    assert storage.store().list("searches") == []
