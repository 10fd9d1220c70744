"""`flowkd up`, `status`, `env`, `down`: a cluster as a user starts it, and submits jobs to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from flowkd.config import dump_config
from flowkd.store.store import Store
from tests.support import ROOT
from tests.support.small_runs import DISTILLATION, furnish, training

PAGE = (ROOT / "docs/howto/cluster.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.cluster


def flowkd(folder: Path, *arguments: str) -> str:
    """Calls the command in a folder, whose cluster and store it then uses."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "AWS_"))}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.cli.main", *arguments],
        cwd=folder,
        env={**ours, "PYTHONPATH": str(ROOT), "FLOWKD_STORE": str(folder / "store")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def facts(folder: Path, *arguments: str) -> Any:
    return json.loads(flowkd(folder, *arguments, "--json"))


def test_up_runs_the_queue_until_down(tmp_path: Path) -> None:
    assert facts(tmp_path, "status")["cluster"] == "down"
    try:
        first = facts(tmp_path, "up", "--cpus", "2")
        again = facts(tmp_path, "up")
        assert again["address"] == first["address"]
        assert first["resources_in_use"] == {"CPU": "0 of 2"}
        config = tmp_path / "data.yaml"
        config.write_text("kind: digits\n")
        submitted = time.time()
        flowkd(tmp_path, "submit", "prepare", "--config", str(config), "--id", "data")
        deadline = time.monotonic() + 120
        while facts(tmp_path, "show", "data")["state"] != "succeeded":
            assert time.monotonic() < deadline, flowkd(tmp_path, "show", "data")
            time.sleep(1)
        status = facts(tmp_path, "status")
        assert status["nodes"] == 1
        assert 0 <= status["queue"]["looked_seconds_ago"] < time.time() - submitted
        assert (status["queue"]["running"], status["queue"]["waiting"]) == (0, 0)
    finally:
        assert flowkd(tmp_path, "down") == "Ray is down\n"
    assert facts(tmp_path, "status")["cluster"] == "down"
    assert flowkd(tmp_path, "down") == "no cluster was up\n"


def test_the_pages_lines_submit_a_job_that_finds_the_store(tmp_path: Path) -> None:
    """In a copy of the repository whose store is the default one, ./store, word by word."""
    copy = tmp_path / "flowkd"
    copy.mkdir()
    for name in ("flowkd", "cluster", "tuning", "jobs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    store = Store(str(copy / "store"))
    furnish(store)
    config = training("submitted", objective=DISTILLATION)
    (copy / "distilled.yaml").write_text(dump_config(config), encoding="utf-8")
    lines = re.search(r'```sh\n(eval "\$\(flowkd env\)"\nray job submit .*\n)```', PAGE)
    assert lines, "docs/howto/cluster.md has other words by now"
    environment = {
        **{name: os.environ[name] for name in ("HOME", "XDG_STATE_HOME", "OMP_NUM_THREADS")},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(copy),
    }

    def shell(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-ec", text], cwd=copy, env=environment, capture_output=True, text=True,
            timeout=240, check=False,
        )  # fmt: skip

    try:
        done = shell("flowkd up --cpus 2")
        assert done.returncode == 0, done.stdout + done.stderr
        address = json.loads((copy / ".flowkd/cluster.json").read_text())["dashboard"]
        line = f"ray job submit --address {address} --working-dir . -- python -m jobs.distill"
        assert line in done.stderr
        done = shell(lines[1])
        assert done.returncode == 0, done.stdout + done.stderr
        assert store.exists("runs", "submitted", "result", "manifest.json")
        elsewhere = lines[1].rstrip() + " --store ./store"
        done = shell(elsewhere)
        assert done.returncode != 0
        assert "expected a store by its whole path or URL in a job" in done.stdout + done.stderr
    finally:
        assert shell("flowkd down").stdout == "Ray is down\n"
