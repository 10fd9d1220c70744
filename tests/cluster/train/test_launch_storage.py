"""A training goes on while its store is slow, and outlasts one that is away."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from cluster.local_record import LocalCluster
from cluster.storage import StorageConfig
from cluster.train import checkpoints
from cluster.train.launch import run_training
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import current_checkpoints
from flowkd.training.config import ScalingConfig, TrainingConfig
from flowkd.training.logs.metrics import read_log
from flowkd.training.setup import run_in_process
from tests.support.servers.faults import FaultProxy
from tests.support.small_runs import furnish, training

STEPS, EVERY = 1500, 250


def config(name: str) -> TrainingConfig:
    return training(
        name,
        flow={"kind": "coupling", "depth": 4, "width": 32, "context": "ignore"},
        train={"steps": STEPS, "learning_rate": 1e-3, "warmup_steps": 2},
        checkpoint_every=EVERY,
        validate_every=EVERY,
        log_every=1,
        scaling=ScalingConfig(max_failures=0),
    )


@pytest.fixture(scope="module")
def undisturbed() -> Store:
    """A store with the same run, made in this process."""
    store = Store("memory://undisturbed")
    furnish(store)
    list(run_in_process(config("calm"), store))
    return store


@pytest.fixture
def storage(proxied_store: Store) -> StorageConfig:
    """A furnished store behind the proxy; only flowkd tries again."""
    furnish(Store(proxied_store.uri))
    return StorageConfig(uri=proxied_store.uri, options=proxied_store.options, retry_seconds=60)


class Watch:
    """Disturbs a run from beside it, in a thread; what went wrong there is raised at the end."""

    def __init__(self, disturb: Callable[[], None], finally_: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._disturb, self._finally = disturb, finally_
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            self._disturb()
        except BaseException as error:
            self.error = error
        finally:
            self._finally()


def last_step(store: Store, run: str) -> int:
    records = read_log(store, run)
    return records[-1]["step"] if records else 0


def wait_for_step(store: Store, run: str, step: int) -> int:
    deadline = time.monotonic() + 120
    while (found := last_step(store, run)) < step:
        assert time.monotonic() < deadline, f"{run} came to step {found} of {step}"
        time.sleep(0.1)
    return found


def workers(cluster: LocalCluster) -> set[int]:
    children = psutil.Process(cluster.pid).children(recursive=True)
    return {child.pid for child in children if "TrainWorker" in _command(child)}


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def local_checkpoints(pids: set[int]) -> list[Path]:
    found = checkpoints._folders(checkpoints.PREFIX)
    return [folder for folder in found if int(folder.name.split("-")[-2]) in pids]


def assert_as_undisturbed(run: str, store: Store, undisturbed: Store) -> None:
    expected = read_log(undisturbed, "calm")
    found = read_log(store, run)
    for key in ("step", "loss", "validation_bits_per_dim"):
        assert [record.get(key) for record in found] == [record.get(key) for record in expected]
    results = [
        load_artifact(*where) for where in ((store, f"runs/{run}"), (undisturbed, "runs/calm"))
    ]
    states = [result.flow.state_dict() for result in results]
    assert all((states[0][name] == states[1][name]).all() for name in states[1])


def test_steps_go_on_while_a_checkpoint_is_uploaded(
    storage: StorageConfig,
    undisturbed: Store,
    proxy: FaultProxy,
    ray_driver: None,
    ray_cluster: LocalCluster,
) -> None:
    direct = Store(storage.uri)
    seen: dict[str, object] = {}

    def look() -> None:
        assert proxy.holding.wait(120)
        wait_for_step(direct, "held", 3 * EVERY)
        time.sleep(2)
        seen["step"] = last_step(direct, "held")
        seen["folders"] = len(local_checkpoints(workers(ray_cluster)))
        seen["uploaded"] = current_checkpoints(direct, "held")

    proxy.hold("state.pt")
    with Watch(look, proxy.release):
        run_training(config("held"), storage)
    # One is on its way, one waits, and the third waits for the first: the disk does not fill up.
    assert seen == {"step": 3 * EVERY, "folders": 2, "uploaded": []}
    assert_as_undisturbed("held", direct, undisturbed)


def test_a_store_that_is_away_in_mid_training_is_outlasted(
    storage: StorageConfig,
    undisturbed: Store,
    proxy: FaultProxy,
    ray_driver: None,
    ray_cluster: LocalCluster,
    reliability: Callable[..., None],
) -> None:
    direct = Store(storage.uri)
    pids: set[int] = set()
    away: list[int] = []

    def leave() -> None:
        wait_for_step(direct, "away", EVERY // 2)
        pids.update(workers(ray_cluster))
        proxy.requests.clear()
        proxy.fail_for(30, "unavailable")
        away.append(last_step(direct, "away"))
        time.sleep(30)
        pids.update(workers(ray_cluster))
        wait_for_step(direct, "away", STEPS)
        pids.update(workers(ray_cluster))

    with Watch(leave, proxy.reset):
        run_training(config("away"), storage)
    assert away[0] < STEPS - EVERY, "a checkpoint was to be due while the store was away"
    assert len(pids) == 1, "no worker was to be replaced"
    assert_as_undisturbed("away", direct, undisturbed)
    reliability(
        "the store away in mid-training",
        "503 to each request for 30 s, a checkpoint due within them, no retries of Ray's allowed",
        "no worker is replaced; losses and weights are those of an undisturbed run, bit by bit",
    )


def test_folders_of_workers_that_were_killed_are_swept() -> None:
    code = "from cluster.train import checkpoints; print(checkpoints.new_folder()); input()"
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    theirs, ours = Path(running.stdout.readline().strip()), checkpoints.new_folder()
    try:
        checkpoints.sweep()
        assert theirs.is_dir()
        running.kill()
        running.wait()
        checkpoints.sweep()
        assert not theirs.exists()
        assert ours.is_dir()
    finally:
        ours.rmdir()
