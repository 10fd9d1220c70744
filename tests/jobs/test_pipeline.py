"""The main job as submitted jobs, the store on a real S3 server: trained, distilled, served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from cluster.local_record import LocalCluster
from flowkd.config import dump_config, load_config
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from tests.support import ROOT
from tests.support.servers.swift import SwiftServer

CONFIGS = ROOT / "jobs/configs/quickstart"
SMALL = ("train.steps=6", "train.warmup_steps=2", "batch_size=32", "validation_rows=100")


def submit(job: str, config: str, store: Store, *overrides: str) -> str:
    """Submits a job as a user would, waits for it, and returns what it printed."""
    settings = [word for override in overrides for word in ("--set", override)]
    command = ["-m", "ray.scripts.scripts", "job", "submit", "--working-dir", str(ROOT), "--"]
    job_command = ["python", "-m", f"jobs.{job}", "--config", f"jobs/configs/quickstart/{config}"]
    done = subprocess.run(
        [sys.executable, *command, *job_command, "--store", store.uri, *settings],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def s3_uri(s3_server: SwiftServer) -> str:
    return s3_server.uri("pipeline")


def test_the_main_job_runs_as_submitted_jobs_on_s3(
    ray_cluster: LocalCluster, s3_uri: str, serve_port: int
) -> None:
    store = Store(s3_uri)
    dataset = load_config(PrepareConfig, CONFIGS / "dataset.yaml").root.name
    submit("prepare", "dataset.yaml", store, "train_limit=500", "val_limit=100", "test_limit=100")
    submit("train_teacher", "teacher.yaml", store, *SMALL)
    submit("distill", "distilled.yaml", store, *SMALL)
    flows = "flows={teacher: runs/quickstart-teacher, distilled: runs/quickstart-distilled}"
    printed = submit("evaluate", "evaluate.yaml", store, flows, "seconds=0.5")
    assert "distilled" in printed
    assert "bits/dim" in printed
    submit("publish", "publish.yaml", store)
    printed = submit("deploy", "deploy.yaml", store, f"port={serve_port}")

    endpoint = f"http://127.0.0.1:{serve_port}"
    assert endpoint in printed
    url = f"{endpoint}/v1/models/photos"
    rows = load_split(store, read_manifest(store, dataset), "test", limit=4).x
    drawn = httpx.post(f"{url}/sample", json={"n": 3, "seed": 5}, timeout=60).json()
    assert np.asarray(drawn["samples"]).shape == (3, 3, 8, 8)
    answer = httpx.post(f"{url}/log_prob", json={"x": (rows.float() + 0.5).tolist()}, timeout=60)
    flow = load_artifact(store, "models/photos@best").flow
    with torch.no_grad():
        expected = flow.log_prob(rows.float() + 0.5)
    np.testing.assert_allclose(answer.json()["log_prob"], expected.numpy(), rtol=1e-5)


def test_a_users_error_ends_a_job_with_its_message_and_status_1(tmp_path: Path) -> None:
    config = load_config(PrepareConfig, CONFIGS / "dataset.yaml")
    path = tmp_path / "dataset.yaml"
    path.write_text(dump_config(config) + "cropp: 4\n")
    done = subprocess.run(
        [sys.executable, "-m", "jobs.prepare", "--config", str(path), "--store", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "cropp: unknown key" in done.stderr
    assert "Traceback" not in done.stderr
