"""A workflow in the foreground: what is there is not done again, and a mistake is found before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.storage import StorageConfig
from flowkd.config import load_config
from flowkd.errors import FlowkdError, RefusedError
from flowkd.registry.artifact_manifest import versions
from flowkd.registry.artifacts import load_artifact
from flowkd.training.config import TrainingConfig
from flowkd.training.removal import remove_runs
from jobs.cli import run_workflow as run
from jobs.cli.sink import be_quiet
from jobs.workflow.checks import check_workflow
from jobs.workflow.config import WorkflowConfig
from tests.support import ROOT

TRAIN = {"steps": 12, "warmup_steps": 2, "learning_rate": 0.01}
RUN = {"train": TRAIN, "batch_size": 16}


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)  # where no cluster is recorded


@pytest.fixture
def storage(tmp_path: Path) -> StorageConfig:
    return StorageConfig.from_uri(str(tmp_path / "store"))


def workflow(folder: Path, **parts: Any) -> WorkflowConfig:
    source = folder / "rows.csv"
    if not source.exists():
        x = np.random.default_rng(0).normal(size=(200, 3)).cumsum(1)
        np.savetxt(source, x, delimiter=",", header="a,b,c", comments="")
    values = {
        "name": "mine",
        "data": {"kind": "table", "name": "mine", "source": str(source)},
        "teacher": {**RUN, "flow": {"kind": "coupling", "depth": 4, "width": 8}},
        "student": {**RUN, "objective": {"share": 0.6}},
        "evaluate": {"seconds": 0.05},
        "deploy": "none",
        "report": folder / "mine.html",
        "results": folder / "mine.json",
    }
    return WorkflowConfig.model_validate({**values, **parts})


def test_a_workflow_goes_on_where_it_was(
    tmp_path: Path,
    storage: StorageConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config, store = workflow(tmp_path), storage.store()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.run_workflow(config, storage)
    said = capsys.readouterr().err
    assert said == (
        "done and kept: data, teacher, plain, distilled; the same command goes on with evaluate\n"
    )
    made = {role: load_artifact(store, f"runs/mine-{role}").manifest.created
            for role in ("teacher", "plain", "distilled")}  # fmt: skip
    be_quiet(True)
    try:
        run.run_workflow(config, storage)
    finally:
        be_quiet(False)
    printed = capsys.readouterr().out
    assert f"report   {tmp_path / 'mine.html'}" in printed
    assert "compared" not in printed
    assert "Publishing" not in printed
    results = json.loads((tmp_path / "mine.json").read_text())
    assert {role: results[role]["created"] for role in made} == made
    bits = {role: load_artifact(store, f"runs/mine-{role}").metrics["validation_bits_per_dim"]
            for role in ("plain", "distilled")}  # fmt: skip
    published = load_artifact(store, "models/mine@best")
    assert published.manifest.lineage.run == f"mine-{min(bits, key=bits.__getitem__)}"
    assert published.metrics["test"]["bits_per_dim"] in {
        results[role]["bits_per_dim"] for role in bits
    }
    assert (tmp_path / "mine.html").read_bytes() == store.read("evaluations", "mine.html")


def test_what_is_done_is_never_done_twice(tmp_path: Path, storage: StorageConfig) -> None:
    config, store = workflow(tmp_path), storage.store()
    run.run_workflow(config, storage)
    first = json.loads((tmp_path / "mine.json").read_text())
    check_workflow(config, storage)
    run.run_workflow(config, storage)
    again = json.loads((tmp_path / "mine.json").read_text())
    for role in ("teacher", "plain", "distilled"):  # throughput is never twice the same
        assert again[role] == first[role]
    assert len(versions(store, "mine")) == 1

    remove_runs(store, ["mine-plain"], force=True, jobs={"mine-plain": []})
    run.run_workflow(config, storage)
    other = json.loads((tmp_path / "mine.json").read_text())
    assert other["plain"]["created"] > first["plain"]["created"]
    assert other["distilled"]["created"] == first["distilled"]["created"]


def test_a_run_of_one_worker_needs_no_ray_however_long(
    tmp_path: Path, storage: StorageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    places: list[str] = []

    def placed(config: TrainingConfig, storage: StorageConfig) -> None:
        places.append(config.scaling.run_on)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train_with_progress", placed)
    for scaling in ({}, {"workers": 2}, {"run_on": "cluster"}):
        with pytest.raises(KeyboardInterrupt):
            run.run_workflow(workflow(tmp_path, teacher={"scaling": scaling}), storage)
    monkeypatch.setenv("RAY_ADDRESS", "ray://elsewhere:10001")
    with pytest.raises(KeyboardInterrupt):
        run.run_workflow(workflow(tmp_path, teacher={}), storage)
    assert places == ["local", "auto", "cluster", "auto"]


def test_what_is_refused_is_reported_all_the_same(
    tmp_path: Path, storage: StorageConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = {"max_round_trip_error": 1e-30}
    with pytest.raises(RefusedError, match="round trip"):
        run.run_workflow(workflow(tmp_path, publish=strict, deploy={}), storage)
    printed = capsys.readouterr().out
    assert "not served, for it is not published" in printed
    assert f"report   {tmp_path / 'mine.html'}" in printed
    assert (tmp_path / "mine.html").exists()
    assert not versions(storage.store(), "mine")


def test_every_stage_is_checked_before_the_first_begins(
    tmp_path: Path, storage: StorageConfig
) -> None:
    check_workflow(workflow(tmp_path), storage)
    late = {**RUN, "train": {**TRAIN, "warmup_steps": 10**6}}
    with pytest.raises(FlowkdError, match="warmup_steps"):
        check_workflow(workflow(tmp_path, student=late), storage)
    run.run_workflow(workflow(tmp_path), storage)
    other = {**RUN, "batch_size": 32}
    with pytest.raises(FlowkdError, match=r"run 'mine-plain' exists .* with another config"):
        check_workflow(workflow(tmp_path, student=other), storage)


def test_the_quickstart_is_checked(storage: StorageConfig) -> None:
    path = ROOT / "jobs/configs/quickstart/quickstart.yaml"
    check_workflow(load_config(WorkflowConfig, path), storage)
    with pytest.raises(FlowkdError, match="warmup_steps"):
        check_workflow(
            load_config(WorkflowConfig, path, ["student.train.warmup_steps=1000000"]), storage
        )


def test_a_part_of_comments_alone_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("name: a\ndata: walks\nteacher:\n  # train: {}\nstudent:\ndeploy: none\n")
    config = load_config(WorkflowConfig, path, ["teacher.train.steps=3"])
    assert config.teacher == {"train": {"steps": 3}}
    assert config.student == {}
