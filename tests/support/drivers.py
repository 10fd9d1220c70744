"""A driver of a run in a process of its own, without Ray: `python -m tests.support.drivers`."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from cluster.exits import exits
from flowkd.registry.artifacts import load_artifact
from flowkd.store import lease, lease_keeper
from flowkd.store.store import Store
from flowkd.training.logs import metrics
from flowkd.training.logs.metrics import last_record, read_log
from flowkd.training.setup import run_in_process
from tests.support.small_runs import training

STEPS = 30
LEASE, RENEWAL, FLUSH = 1.0, 0.2, 0.1  # seconds


def config(name: str) -> Any:
    train = {"steps": STEPS, "learning_rate": 0.01, "warmup_steps": 2}
    return training(name, train=train, log_every=1, validate_every=10)


def driver(store: Store, name: str, pause: float) -> subprocess.Popen[str]:
    """Starts a driver that rests after each step."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.drivers", store.uri, name, str(pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(store: Store, name: str, step: int, *drivers: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 300
    while ((last_record(store, name) or {"step": 0})["step"]) < step:
        assert time.monotonic() < deadline
        assert all(each.poll() is None for each in drivers), [d.communicate() for d in drivers]
        time.sleep(0.05)


def seen(store: Store, name: str) -> dict[str, Any]:
    """Returns what readers see of a finished run: its metrics, and its result's every byte."""
    artifact = load_artifact(store, f"runs/{name}")
    folder = f"runs/{name}/result"
    parts = {
        part: store.read(artifact.manifest.part(folder, part)) for part in artifact.manifest.parts
    }
    return {
        "metrics": read_log(store, name),
        "manifest": store.read(folder, "manifest.json"),
        "parts": parts,
    }


def main() -> None:
    uri, name, pause = sys.argv[1:]
    lease.LEASE_SECONDS, lease_keeper.RENEW_SECONDS = LEASE, RENEWAL
    metrics.FLUSH_SECONDS = FLUSH
    with exits():
        for _ in run_in_process(config(name), Store(uri)):
            time.sleep(float(pause))


if __name__ == "__main__":
    main()
