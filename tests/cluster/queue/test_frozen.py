"""An attempt at a training that stands still, and wakes beside its successor, changes nothing."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cluster.local_record import LocalCluster
from cluster.queue.job_log import read_job_log
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.checkpoint_folders import current_folder
from flowkd.training.logs.metrics import last_record
from flowkd.training.runs import run_state
from tests.support.drivers import seen
from tests.support.queues import TestQueue, kill_head, new_cluster, wait_for
from tests.support.small_runs import furnish, training

pytestmark = pytest.mark.cluster
STEPS = 4000


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[TestQueue]:
    record = tmp_path / "cluster.json"
    cluster = new_cluster(record)
    yield TestQueue(cluster, Store(str(tmp_path / "store")), tmp_path)
    kill_head(cluster, record)


def of_the_attempt(cluster: LocalCluster, driver: int) -> list[psutil.Process]:
    """Returns the processes of the only attempt: its runner, what that started, Ray's workers."""
    keeper = psutil.Process(driver).parent()
    assert keeper is not None
    runner = keeper.parent()
    assert runner is not None
    started = psutil.Process(cluster.pid).children(recursive=True)
    workers = [each for each in started if "ray::" in each.name() and "Train" in each.name()]
    assert len(workers) >= 2  # and the controller
    return [runner, *runner.children(recursive=True), *workers]


def test_an_attempt_that_wakes_beside_its_successor_changes_nothing(
    queue: TestQueue, reliability: Callable[..., None]
) -> None:
    furnish(queue.store)
    config = training(
        "run",
        flow={"kind": "coupling", "depth": 3, "width": 16, "context": "ignore"},
        train={"steps": STEPS, "learning_rate": 1e-3, "warmup_steps": 2},
        checkpoint_every=300,
        validate_every=1000,
        scaling={"run_on": "cluster"},
    )
    queue.submit("job", kind="train_teacher", config=config.model_dump(mode="json"))
    queue.serve("dispatcher")
    wait_for(
        lambda: current_folder(queue.store, "run") and last_record(queue.store, "run"),
        about=lambda: log(queue, 1),
    )
    holder = queue.store.read_json("runs", "run", "lease", "00000001.json")["holder"]
    assert (holder["job"], holder["attempt"]) == ("job", 1)
    frozen = of_the_attempt(queue.cluster, holder["process"])
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    step = (last_record(queue.store, "run") or {})["step"]
    assert 0 < step < STEPS
    queue.wait("job", "succeeded", seconds=240)
    assert queue.records.state("job").attempt == 2
    before = seen(queue.store, "run"), run_state(queue.store, "run")
    folder = current_folder(queue.store, "run")
    outcome = queue.records.outcome("job", 2)
    assert folder is not None
    assert folder.endswith("00000002")
    for process in reversed(frozen):
        with suppress(psutil.NoSuchProcess):  # Ray has killed it, once it was given up
            process.send_signal(signal.SIGCONT)
    assert psutil.wait_procs(frozen[:1], timeout=60)[1] == []  # its runner
    wait_for(lambda: not any(map(_lives, frozen)), about=lambda: [p.name() for p in frozen])
    assert (seen(queue.store, "run"), run_state(queue.store, "run")) == before
    assert current_folder(queue.store, "run") == folder
    assert queue.records.outcome("job", 2) == outcome
    assert queue.state("job") == "succeeded"
    steps = [line["step"] for line in before[0]["metrics"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == load_artifact(queue.store, "runs/run").metrics["steps"] == STEPS
    reliability(
        "an attempt that stands still and wakes after its successor",
        "SIGSTOP to its runner, driver, controller and worker in mid-training; the queue makes "
        "another; SIGCONT",
        "it ends; metrics, checkpoints, result and outcome are its successor's alone, byte by byte",
    )


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def log(queue: TestQueue, attempt: int) -> str:
    return b"".join(read_job_log(queue.store, "job", attempt)).decode()
