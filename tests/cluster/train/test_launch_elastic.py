"""A run that loses a machine goes on with what remains, as if it had never had more."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from cluster.local import ray_environment
from flowkd.config import dump_config
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.logs.metrics import read_log
from flowkd.training.setup import run_in_process
from tests.support import ROOT
from tests.support.small_runs import furnish, training

pytestmark = pytest.mark.cluster
STEPS, EVERY = 600, 100
SOON = {
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "12",  # of a machine that does other things too
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "5000",  # of a slow machine; a dead raylet refuses at once
    "RAY_health_check_failure_threshold": "3",
}


def config(name: str, **scaling: int) -> TrainingConfig:
    return training(
        name,
        train={"steps": STEPS, "learning_rate": 1e-3, "warmup_steps": 2},
        checkpoint_every=EVERY,
        validate_every=STEPS,
        log_every=1,
        scaling=scaling,
    )


def test_a_run_that_loses_a_node_goes_on_with_what_remains(
    local_store: Store, tmp_path: Path, reliability: Callable[..., None]
) -> None:
    furnish(local_store)
    expected = [result.loss for result in run_in_process(config("calm"), local_store)]

    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config("shrunk", workers=2, min_workers=1)), encoding="utf-8")
    found = drive(path, local_store)

    assert found["workers"] == 2
    assert found["nodes"] == 2  # the head, and one of one CPU
    log = read_log(local_store, "shrunk")
    steps = [line["step"] for line in log]
    assert steps == list(range(1, STEPS + 1))
    # What it had done was not done again.
    assert next(line["step"] for line in log if line["time"] > found["lost"]) > EVERY
    losses = np.array([line["loss"] for line in log])
    np.testing.assert_allclose(losses, [expected[step - 1] for step in steps], rtol=1e-5)
    reliability(
        "loss of a node of an elastic run",
        "SIGKILL to one of three raylets and its workers; scaling.min_workers: 1, workers: 2",
        "goes on with one worker; all losses are those of an undisturbed run, to 1e-5",
    )


def drive(path: Path, store: Store) -> dict[str, float]:
    """Trains on a cluster of its own, which this process's environment does not reach."""
    folder = tempfile.mkdtemp(prefix="flowkd-")  # a socket's path is short
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.shrinking", path, store.uri],
            env={**ray_environment(), **SOON, "RAY_TMPDIR": folder, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        left = [each for each in psutil.process_iter(["cmdline"]) if folder in str(each.info)]
        assert not left
        return json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
