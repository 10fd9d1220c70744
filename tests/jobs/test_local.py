"""Jobs without Ray: from data to a published model with Ray out of reach."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from cluster.storage import StorageConfig
from flowkd.config import dump_config
from flowkd.errors import ConfigError
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from jobs.checks import check_job
from jobs.cli.main import app
from tests.support import ROOT, searches
from tests.support.small_runs import DISTILLATION, TEACHER, furnish, training

TRAINED = training("big", flow=TEACHER)
DISTILLED = training("small", objective={**DISTILLATION, "teacher": "runs/big"})
CONFIGS: dict[str, Any] = {
    "train_teacher": yaml.safe_load(dump_config(TRAINED)),
    "distill": yaml.safe_load(dump_config(DISTILLED)),
    "evaluate": {
        "name": "e",
        "dataset": "walks",
        "flows": {"a": "runs/big", "b": "runs/small"},
        "seconds": 0.05,
    },
    "publish": {"model": "m", "source": "runs/small", "force": True},
    "report": {"name": "e", "model": "m"},
}
# One process, since each would import torch again: runs the jobs that its arguments name.
RUNS = """
import runpy, sys
for job in sys.argv[1:]:
    sys.argv = ["job", "--config", f"{job}.yaml", "--local"]
    try:
        runpy.run_module(f"jobs.{job}", run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, (job, ended.code)
"""


def test_all_but_serving_does_without_ray(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    furnish(store)
    for job, config in CONFIGS.items():
        (tmp_path / f"{job}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    absent = tmp_path / "without" / "ray" / "__init__.py"
    absent.parent.mkdir(parents=True)
    absent.write_text("raise ImportError('Ray was imported')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", RUNS, *CONFIGS],
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            "PYTHONPATH": f"{absent.parents[1]}{os.pathsep}{ROOT}",
            "FLOWKD_STORE": "store",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "small: the weights of step" in done.stdout
    published = load_artifact(store, "models/m@best")
    assert published.manifest.lineage.run == "small"
    page = store.read("evaluations", "e.html").decode()
    assert f"models/m@{published.version}" in page
    command = ["report", "e", "--store", store.uri, "--output", str(tmp_path / "e.html")]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert (tmp_path / "e.html").read_text() == page


@pytest.mark.parametrize(
    ("config", "here", "what"),
    [
        (searches.searching("one", scaling={"run_on": "local"}), True, "a search"),
        (training("new", scaling={"run_on": "local"}), False, "a job of the queue"),
    ],
)
def test_what_only_ray_runs_cannot_be_asked_of_this_process(
    local_store: Store, config: Any, here: bool, what: str
) -> None:
    furnish(local_store)
    with pytest.raises(ConfigError, match=rf"scaling\.run_on: expected auto or cluster for {what}"):
        check_job(config, StorageConfig.from_uri(local_store.uri), here=here)


def test_the_queue_refuses_it_when_it_is_submitted(local_store: Store, tmp_path: Path) -> None:
    furnish(local_store)
    path = tmp_path / "run.yaml"
    path.write_text(dump_config(training("new", scaling={"run_on": "local"})), encoding="utf-8")
    command = ["submit", "train_teacher", "--config", str(path), "--store", local_store.uri]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "expected auto or cluster for a job of the queue" in result.output
    assert not local_store.exists("queue")


@pytest.mark.parametrize(
    ("job", "options"), [("train_teacher", ["--local", "--cluster"]), ("publish", ["--cluster"])]
)
def test_options_that_mean_nothing_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    job: str,
    options: list[str],
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(CONFIGS[job]), encoding="utf-8")
    store = ["--store", str(tmp_path / "store")]
    monkeypatch.setattr(sys, "argv", ["job", "--config", str(path), *store, *options])
    monkeypatch.delitem(sys.modules, f"jobs.{job}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"jobs.{job}", run_name="__main__")
    assert ended.value.code == 2
    assert "--cluster" in capsys.readouterr().err
    assert not (tmp_path / "store").exists()
