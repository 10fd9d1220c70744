"""The main job as a submitted job, the store on a real S3 server: trained, distilled, served."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from cluster.local_record import LocalCluster
from flowkd.config import dump_config
from flowkd.data.importers.photos import PhotosConfig
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from tests.support import ROOT
from tests.support.servers.swift import SwiftServer

SMALL = {
    "data.train_limit": 500, "data.val_limit": 100, "data.test_limit": 100,
    **{
        f"{role}.{key}": value
        for role in ("teacher", "student")
        for key, value in {
            "train.steps": 6, "train.warmup_steps": 2, "batch_size": 32, "validation_rows": 100,
        }.items()
    },
    "evaluate.seconds": 0.5,
}  # fmt: skip


def submit(store: Store, **overrides: object) -> str:
    """Submits the quickstart as a user would, waits for it, and returns what it printed."""
    settings = [f"--set={key}={value}" for key, value in {**SMALL, **overrides}.items()]
    command = ["-m", "ray.scripts.scripts", "job", "submit", "--working-dir", str(ROOT), "--"]
    config = "jobs/configs/quickstart/quickstart.yaml"
    done = subprocess.run(
        [sys.executable, *command, "python", "-m", "jobs.run", "--config", config,
         "--store", store.uri, *settings],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def s3_uri(s3_server: SwiftServer) -> str:
    return s3_server.uri("pipeline")


def test_the_main_job_runs_as_a_submitted_job_on_s3(
    ray_cluster: LocalCluster, s3_uri: str, serve_port: int
) -> None:
    store = Store(s3_uri)
    printed = submit(store, **{"deploy.port": serve_port})
    assert "distilled" in printed
    assert "bits/dim" in printed
    endpoint = f"http://127.0.0.1:{serve_port}"
    assert endpoint in printed
    assert store.read("evaluations", "quickstart.html").startswith(b"<!doctype html>")
    url = f"{endpoint}/v1/models/photos"
    rows = load_split(store, read_manifest(store, "photos-8"), "test", limit=4).x
    drawn = httpx.post(f"{url}/sample", json={"n": 3, "seed": 5}, timeout=60).json()
    assert np.asarray(drawn["samples"]).shape == (3, 3, 8, 8)
    answer = httpx.post(f"{url}/log_prob", json={"x": (rows.float() + 0.5).tolist()}, timeout=60)
    flow = load_artifact(store, "models/photos@best").flow
    with torch.no_grad():
        expected = flow.log_prob(rows.float() + 0.5)
    np.testing.assert_allclose(answer.json()["log_prob"], expected.numpy(), rtol=1e-5)


def test_a_users_error_ends_a_job_with_its_message_and_status_1(tmp_path: Path) -> None:
    config = PrepareConfig(PhotosConfig())
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
