"""Ray Train gives what a plain loop gives, on any number of workers, and survives their deaths."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray

from cluster.local_record import LocalCluster
from cluster.storage import StorageConfig
from cluster.train.launch import run_training
from flowkd.config import dump_config
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.distillation.objective import DistillationConfig
from flowkd.errors import ConfigError, DataError, NonFiniteError, StoreError
from flowkd.flows.build import build_flow
from flowkd.flows.glow import GlowConfig
from flowkd.registry.artifacts import load_artifact, write_artifact
from flowkd.store.sealed import write_sealed_text
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import current_checkpoints
from flowkd.training.config import ScalingConfig, TrainingConfig
from flowkd.training.growth import with_steps
from flowkd.training.logs.metrics import read_log
from flowkd.training.setup import run_in_process
from flowkd.training.train_config import TrainConfig
from tests.support.asked_teachers import heard_teacher, listening_worker
from tests.support.orphans import actors, placement_groups
from tests.support.queues import wait_for


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> StorageConfig:
    """A local store with a small data set of pictures, in ten shards."""
    config = StorageConfig.from_uri(str(tmp_path_factory.mktemp("store")))
    pixels = np.random.default_rng(0).integers(0, 256, (300, 3, 8, 8), dtype=np.uint8)
    splits = {"train": pixels[:200], "val": pixels[200:250], "test": pixels[250:]}
    write_dataset(
        config.store(),
        "noise",
        {name: SplitArrays(x) for name, x in splits.items()},
        kind="image",
        source="test",
        bins=256,
        shard_bytes=20 * 3 * 8 * 8,
    )
    return config


def training(name: str, **changes: object) -> TrainingConfig:
    settings = {
        "name": name,
        "dataset": "noise",
        "flow": GlowConfig(levels=2, depth=2, width=8),
        "train": TrainConfig(steps=6, learning_rate=1e-3, warmup_steps=2),
        "batch_size": 36,
        "validate_every": 3,
        "checkpoint_every": 3,
        "log_every": 1,
    }
    return TrainingConfig.model_validate(settings | changes)


def losses(store: Store, run: str) -> list[float]:
    records = read_log(store, run)
    assert [record["step"] for record in records] == list(range(1, len(records) + 1))
    return [record["loss"] for record in records]


ALL_TERMS = {
    "kind": "distillation",
    "teacher": "runs/plain-1",
    "warm_start": "none",
    "hints": [{"student": "level0", "teacher": "level0", "normalize": True}],
    "weights": {
        "nll": 1, "samples": 1, "density": 1, "latent": {"kind": "cosine", "start": 1},
        "hints": 1, "log_det": 1, "synthesis": {"kind": "linear", "end": 1},
    },
    "samples": {"rows": None},
}  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "objective"),
    [(1, {"kind": "maximum_likelihood"}), (2, ALL_TERMS), (3, ALL_TERMS)],
)
def test_workers_give_the_losses_of_a_plain_loop(
    storage: StorageConfig, ray_driver: None, workers: int, objective: dict[str, object]
) -> None:
    store = storage.store()
    if workers > 1 and not store.exists("runs", "plain-1", "result"):
        list(run_in_process(training("plain-1"), store))
    plain = training(f"plain-{workers}", objective=objective)
    expected = [result.loss for result in run_in_process(plain, store)]

    name = f"ray-{workers}"
    scaling = ScalingConfig(workers=workers)
    trained = run_training(training(name, scaling=scaling, objective=objective), storage)
    assert trained == f"runs/{name}"

    tolerance = 1e-6 if workers == 1 else 1e-5  # a mean of two halves rounds otherwise
    np.testing.assert_allclose(losses(store, name), expected, rtol=tolerance)
    metrics = [load_artifact(store, f"runs/{run}").metrics for run in (plain.name, name)]
    np.testing.assert_allclose(
        *[found["validation_bits_per_dim"] for found in metrics], rtol=tolerance
    )


def test_workers_ask_a_teacher_once_for_all(
    storage: StorageConfig, ray_driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = storage.store()
    if not store.exists("runs", "plain-1", "result"):
        list(run_in_process(training("plain-1"), store))
    objective = {
        "kind": "distillation", "teacher": "runs/plain-1", "warm_start": "none",
        "hints": [{"student": "level0", "teacher": "level0"}],
        "weights": {"nll": 1, "samples": 1, "latent": 1, "hints": 1},
        "samples": {"rows": 700, "range_factor": None},
        "cache": {"kind": "memory", "copies": 3},
    }  # fmt: skip
    with heard_teacher(store, "alone"):
        alone = run_in_process(training("asks-1", objective=objective), store)
        expected = [result.loss for result in alone]
    monkeypatch.setattr("cluster.train.launch.train_worker", listening_worker)
    run_training(training("asks-2", objective=objective, scaling=ScalingConfig(workers=2)), storage)
    np.testing.assert_allclose(losses(store, "asks-2"), expected, rtol=1e-5)
    whole, *parts = (store.read_json("heard", name) for name in ("alone", "0", "1"))
    # Of 200 rows with 3 noises each, and of 700 samples, the targets; the samples as well.
    assert whole["rows"] == 600 + 700 + 700 == sum(part["rows"] for part in parts)
    assert all(part["rows"] >= 500 for part in parts)
    assert parts[0]["digest"] == parts[1]["digest"] == whole["digest"]


def test_a_finished_run_goes_on_to_more_steps(storage: StorageConfig, ray_driver: None) -> None:
    store = storage.store()
    train = TrainConfig(
        steps=4, learning_rate=1e-3, warmup_steps=2, schedule="constant", precision="auto"
    )
    short, said = training("grows", train=train), []
    run_training(short, storage, tell=said.append)
    (choice,) = (store.read_json("precisions", kept) for kept in store.list("precisions"))
    assert any(f"precision {choice['precision']}: a step takes" in line for line in said)
    train = train.model_copy(update={"precision": choice["precision"]})
    before = load_artifact(store, "runs/grows").manifest
    assert run_training(short, storage) == "runs/grows"  # at once
    assert load_artifact(store, "runs/grows").manifest == before
    run_training(with_steps(short, 7), storage)
    whole = with_steps(training("whole", train=train), 7)
    expected = [result.loss for result in run_in_process(whole, store)]
    np.testing.assert_allclose(losses(store, "grows"), expected, rtol=1e-6)
    grown, straight = (load_artifact(store, f"runs/{name}") for name in ("grows", "whole"))
    assert grown.metrics["best_step"] == straight.metrics["best_step"]
    assert grown.metrics["steps"] == 7
    with pytest.raises(ConfigError, match="expected at least the 7 that it was begun with; got 4"):
        run_training(short, storage)


def test_samples_that_any_worker_drops_are_counted(
    storage: StorageConfig, ray_driver: None
) -> None:
    store = storage.store()
    # Of 64 latents, times 1e38, one is beyond float32 in about one sample of 23.
    flow = GlowConfig(event_shape=(1, 8, 8), mean=0.0, scale=1e38, levels=1, depth=1, width=4)
    write_artifact(store, "runs/huge/result", build_flow(flow), flow, metrics={})
    options = {
        "dataset": "none",
        "flow": flow,
        "objective": {
            "kind": "distillation",
            "teacher": "runs/huge",
            "warm_start": "none",
            "weights": {"nll": 0, "samples": 1},
            "samples": {"rows": None, "batch_size": 64},
        },
        "log_every": 4,  # a checkpoint between two lines of metrics
    }
    list(run_in_process(training("drops-1", **options), store))
    run_training(training("drops-2", scaling=ScalingConfig(workers=2), **options), storage)
    dropped = [
        load_artifact(store, f"runs/drops-{count}").metrics["samples_dropped"] for count in (1, 2)
    ]
    assert dropped[0] == dropped[1] > 6


def test_a_killed_worker_is_replaced_and_the_run_goes_on_as_if_undisturbed(
    storage: StorageConfig,
    ray_driver: None,
    ray_cluster: LocalCluster,
    reliability: Callable[..., None],
) -> None:
    store = storage.store()
    # Large enough to be caught in mid-run; small enough to wait for.
    settings = {
        "train": TrainConfig(steps=400, learning_rate=1e-3),
        "batch_size": 128,
        "checkpoint_every": 50,
        "validate_every": 400,
    }
    expected = [result.loss for result in run_in_process(training("calm", **settings), store)]

    killed: list[int] = []
    killer = threading.Thread(target=_kill_once, args=(store, "shot", ray_cluster, killed))
    killer.start()
    run_training(training("shot", **settings), storage)
    killer.join()

    assert len(killed) == 1
    assert 50 < killed[0] < 400, "the worker was to die in mid-run, after a checkpoint"
    np.testing.assert_allclose(losses(store, "shot"), expected, rtol=1e-6)
    reliability(
        "kill -9 of a training worker",
        "SIGKILL to the only worker, in mid-run",
        "replaced; all losses are those of an undisturbed run, to 1e-6",
    )


def _kill_once(store: Store, run: str, cluster: LocalCluster, killed: list[int]) -> None:
    """Kills the training worker once the store shows a checkpoint and steps beyond it."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        records = read_log(store, run)
        if current_checkpoints(store, run) and records and records[-1]["step"] > 50:
            for process in psutil.Process(cluster.pid).children(recursive=True):
                if "TrainWorker" in " ".join(process.cmdline()):
                    process.kill()
                    killed.append(records[-1]["step"])
                    return
        time.sleep(0.05)


def test_a_finished_run_is_not_run_again(storage: StorageConfig, ray_driver: None) -> None:
    store = storage.store()
    config = training("once")
    for _ in run_in_process(config, store):
        pass
    folder = Path(storage.uri.removeprefix("file://"), "runs", "once")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert folder / "result" / "manifest.json" in before
    assert run_training(config, storage) == "runs/once"
    # Neither a worker nor Ray Train, which notes the state of each run, ever wrote a line.
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_name_taken_by_another_config_is_refused(
    storage: StorageConfig, ray_driver: None
) -> None:
    store = storage.store()
    (Path(store.path("runs", "taken"))).mkdir(parents=True)
    write_sealed_text(store, dump_config(training("taken")), "runs", "taken", "config.yaml")
    with pytest.raises(ConfigError, match=r"seed was 0, now 7.*choose another name"):
        run_training(training("taken", seed=7), storage)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"dataset": "absent"}, DataError, "no dataset 'absent'.*noise.*jobs.prepare"),
        (
            {"objective": DistillationConfig(teacher="runs/absent")},
            StoreError,
            "no finished run 'absent'",
        ),
        (
            {"flow": GlowConfig(levels=4, depth=1, width=4)},
            ConfigError,
            "divisible by 2.levels = 16",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_starts(
    storage: StorageConfig, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_training(training("refused", **changes), storage)
    assert not storage.store().exists("runs", "refused")


def test_a_loss_that_becomes_infinite_stops_the_run_and_names_step_and_term(
    storage: StorageConfig, ray_driver: None
) -> None:
    wild = TrainConfig(steps=200, learning_rate=1e6, warmup_steps=0)
    with pytest.raises(NonFiniteError, match=r"run 'wild': step \d+: \w+.* is (nan|inf)"):
        run_training(training("wild", train=wild, scaling=ScalingConfig(workers=2)), storage)
    assert not storage.store().exists("runs", "wild", "result")
    job = ray.get_runtime_context().get_job_id()
    theirs = {"TrainController", "RayTrainWorker", "DatasetManager", "PlacementGroupCleaner"}
    wait_for(lambda: not theirs & set(actors(job)), about=lambda: actors(job))
    assert not placement_groups(job)
