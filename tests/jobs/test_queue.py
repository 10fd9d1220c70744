"""Jobs through the queue: a pipeline to a published model, and one enqueued from inside Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import yaml
from typer.testing import CliRunner

from cluster.local_record import LocalCluster
from cluster.queue.config import QueueConfig
from cluster.queue.events import ENDED
from cluster.queue.records import QueueRecords
from cluster.queue.service import start
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from jobs.cli.main import app
from jobs.dispatcher import with_kinds
from tests.support import ROOT

SECONDS = 240


@pytest.fixture
def store(tmp_path: Path, ray_cluster: LocalCluster, ray_driver: None) -> Iterator[Store]:
    """A store whose queue has a dispatcher."""
    store = Store(str(tmp_path / "store"))
    config = with_kinds(QueueConfig(poll_interval=0.3, heartbeat_timeout=20, grace_period=5))
    actor = start(store.uri, config, ray_cluster.dashboard, name=f"test-{uuid.uuid4().hex}")
    yield store
    ray.kill(actor)


def call(store: Store, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--store", store.uri])
    assert result.exit_code == 0, result.output
    return result.output


def await_ends(store: Store, *jobs: str) -> dict[str, str]:
    records = QueueRecords(store)
    deadline = time.monotonic() + SECONDS
    while True:
        states = {job: records.state(job).state or "submitted" for job in jobs}
        if all(state in ENDED for state in states.values()):
            return states
        assert time.monotonic() < deadline, states
        time.sleep(0.5)


def test_a_pipeline_ends_in_a_published_model_with_its_lineage(
    store: Store, tmp_path: Path
) -> None:
    files = {
        "data": {"kind": "digits"},
        "teacher": {
            "name": "teacher",
            "dataset": "digits",
            "flow": {"kind": "glow", "levels": 1, "depth": 1, "width": 4},
            "train": {"steps": 6, "learning_rate": 1e-3, "warmup_steps": 2},
            "batch_size": 32,
        },
        "search": {
            "name": "students",
            "teacher": "runs/teacher",
            "dataset": "digits",
            "student": {"kind": "glow", "levels": 1, "depth": 1, "width": 2},
            "budget": {"parameters_share": 1},
            "space": {"learning_rate": {"low": 0.001, "high": 0.01}},
            "train": {"steps": 4, "learning_rate": 1e-3, "warmup_steps": 1},
            "batch_size": 32,
            "trials": 2,
        },
        "publish": {"model": "digits", "source": "runs/teacher", "force": True},
    }
    for name, values in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(values))
    kinds = {"data": "prepare", "teacher": "train_teacher", "search": "search"}
    kinds |= {"publish": "publish"}
    stages = {name: {"kind": kind, "config": f"{name}.yaml"} for name, kind in kinds.items()}
    pipeline = {"name": "line", "stages": stages}
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
    call(store, "submit", "pipeline", "--config", str(tmp_path / "pipeline.yaml"))
    jobs = [f"line.{name}" for name in kinds]
    assert set(await_ends(store, *jobs).values()) == {"succeeded"}, call(store, "logs", jobs[1])
    artifact = load_artifact(store, "models/digits@best")
    assert (artifact.manifest.lineage.run, artifact.manifest.lineage.dataset) == (
        "teacher",
        "digits",
    )
    starts = {
        job: {event.state: event.time for event in QueueRecords(store).events(job)} for job in jobs
    }
    assert starts[jobs[0]]["succeeded"] <= starts[jobs[1]]["starting"]
    assert starts[jobs[1]]["succeeded"] <= starts[jobs[2]]["starting"]
    assert starts[jobs[2]]["succeeded"] <= starts[jobs[3]]["starting"]
    assert "trained runs/teacher" in call(store, "logs", jobs[1])
    rows = {row["job"]: row for row in json.loads(call(store, "queue", "--json"))}
    # As of the last heartbeat, of which so short a job has few.
    assert rows[jobs[1]]["progress"].endswith("of 6")
    assert rows[jobs[2]]["progress"].endswith(
        ("of 4 trials", "done")
    )  # two, and those that come first
    assert "trial 1: finished after 4 steps" in call(store, "logs", jobs[2])


def test_a_job_is_enqueued_from_inside_ray(store: Store, tmp_path: Path) -> None:
    config = tmp_path / "data.yaml"
    config.write_text("kind: digits\n")
    command = ["python", "-m", "jobs.enqueue", "prepare", "--config", str(config)]
    done = subprocess.run(
        [
            sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--working-dir",
            str(ROOT), "--", *command, "--store", store.uri, "--id", "inner", "--owner", "ann",
        ],
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "inner: accepted" in done.stdout
    assert await_ends(store, "inner") == {"inner": "succeeded"}
    assert QueueRecords(store).spec("inner").spec.owner == "ann"
    assert "data set digits" in call(store, "logs", "inner")
