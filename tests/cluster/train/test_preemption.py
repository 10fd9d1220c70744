"""A training that is stopped leaves a checkpoint, and the same command ends as if it never was."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cluster.local_record import LocalCluster
from flowkd.config import dump_config
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.logs.metrics import last_record, read_log
from flowkd.training.setup import run_in_process
from tests.support.small_runs import furnish, training

STEPS = 3000


def config(workers: int) -> TrainingConfig:
    return training(
        "stopped",
        flow={"kind": "coupling", "depth": 3, "width": 16, "context": "ignore"},
        train={"steps": STEPS, "learning_rate": 1e-3, "warmup_steps": 2},
        checkpoint_every=10 * STEPS,  # none but what stopping leaves
        validate_every=500,
        scaling={"workers": workers, "max_failures": 0},
    )


@pytest.mark.parametrize(
    ("workers", "first", "then"),
    [(1, "--cluster", "--local"), (1, "--local", "--cluster"), (2, "--cluster", "--cluster")],
)
def test_a_stopped_run_goes_on_as_if_it_never_was(
    ray_cluster: LocalCluster,
    local_store: Store,
    memory_store: Store,
    tmp_path: Path,
    reliability: Callable[..., None],
    workers: int,
    first: str,
    then: str,
) -> None:
    furnish(local_store)
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config(workers)), encoding="utf-8")
    command = [sys.executable, "-m", "jobs.train_teacher", "--config", str(path)]
    command += ["--store", local_store.uri]
    with subprocess.Popen(
        [*command, first], stdout=subprocess.PIPE, text=True, stderr=subprocess.PIPE
    ) as run:
        deadline = time.monotonic() + 120
        while (last_record(local_store, "stopped") or {"step": 0})["step"] < 100:
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        run.send_signal(signal.SIGTERM)
        said = run.communicate(timeout=120)
    assert run.returncode == 75, said
    stopped = read_log(local_store, "stopped")[-1]["step"]
    assert 100 <= stopped < STEPS
    assert f"stopped after {stopped} steps" in said[1].replace("\n", " ")
    done = subprocess.run(
        [*command, then], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    log = read_log(local_store, "stopped")
    assert [line["step"] for line in log] == sorted({line["step"] for line in log})
    furnish(memory_store)
    list(run_in_process(config(1), memory_store))
    flows = [load_artifact(store, "runs/stopped").flow for store in (local_store, memory_store)]
    for one, other in zip(*(flow.state_dict().values() for flow in flows), strict=True):
        if workers == 1:
            assert torch.equal(one, other)
        else:
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    places = {"--cluster": "on Ray", "--local": "without Ray"}
    reliability(
        f"SIGTERM to a training on {workers} worker{'s' if workers > 1 else ''} {places[first]}",
        f"to its driver, in mid-run; then the same command, {places[then]}",
        "a checkpoint first, exit code 75; the weights at the end are those of an undisturbed run"
        + (" on one worker, to 1e-3" if workers > 1 else ", bit by bit"),
    )
