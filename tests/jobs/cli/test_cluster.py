"""`flowkd up`, `status`, `down`: a cluster that runs the queue, as a user starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT

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
