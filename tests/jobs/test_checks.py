"""What can be known before a job begins is known before: each mistake is found by its check."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.serve.config import ServingConfig
from cluster.storage import StorageConfig
from flowkd.config import dump_config
from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.prepare import PrepareConfig
from flowkd.errors import FlowkdError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.registry.publish import PublishConfig
from flowkd.store.store import Store
from jobs.checks import check_job, makes, needs
from jobs.distill import check_distillation
from jobs.train_teacher import check_teacher
from tests.support import ROOT, searches
from tests.support.small_runs import DISTILLATION, furnish, training


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> StorageConfig:
    store = Store(str(tmp_path_factory.mktemp("checked") / "store"))
    furnish(store)
    return StorageConfig.from_uri(store.uri)


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)  # where no cluster is recorded


def hinted(tap: str) -> dict[str, Any]:
    return {**DISTILLATION, "hints": [{"student": tap, "teacher": "step1"}]}


FLOWS = {"a": "runs/teacher"}
SOUND = {
    "teacher": training("new"),
    "student": training("student", objective=DISTILLATION),
    "search": searches.searching("one"),
    "evaluation": EvaluationConfig(name="a", flows=FLOWS, dataset="walks"),
    "publication": PublishConfig(model="m", source="runs/teacher"),
    "service": ServingConfig(models={"m": "runs/teacher"}),
    "import": PrepareConfig(DigitsConfig()),
}


@pytest.mark.parametrize("name", SOUND)
def test_nothing_speaks_against_what_is_sound_and_nothing_is_kept(
    storage: StorageConfig, name: str
) -> None:
    store = storage.store()
    before = [store.list(*folder) for folder in ((), ("runs",), ("datasets",))]
    check_job(SOUND[name], storage)
    assert [store.list(*folder) for folder in ((), ("runs",), ("datasets",))] == before


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (training("a", dataset="wlaks"), r"no dataset 'wlaks'.*datasets there: pictures, walks"),
        (training("a", flow={"kind": "glow"}), "flow"),
        (
            training("a", objective={**DISTILLATION, "teacher": "runs/gone"}),
            "no finished run 'gone'.*finished are: teacher",
        ),
        (
            training("a", objective=hinted("stpe0")),
            "no tap 'stpe0'; valid taps are .*step0",
        ),
        (
            training("a", train={"steps": 10, "learning_rate": 1e-3, "warmup_steps": 10}),
            r"warmup_steps: expected fewer than the 10 of train\.steps; got 10",
        ),
        (training("a", train={"steps": 10}), "got 100"),
        (training("a", scaling={"gpu": True}), r"scaling\.gpu: expected 1 GPUs .* got 0"),
        (training("a", scaling={"cpus": 9999}), "scaling: expected at most the .* CPUs"),
        (training("teacher"), "run 'teacher' exists .* with another config"),
        (searches.searching("a", teacher="runs/gone"), "no finished run 'gone'"),
        (searches.searching("a", dataset="gone"), "no dataset 'gone'"),
        (EvaluationConfig(name="a", flows=FLOWS, dataset="gone"), "no dataset 'gone'"),
        (EvaluationConfig(name="a", flows=FLOWS, dataset="pictures"), r"flows\.a: expected"),
        (EvaluationConfig(name="a", flows=FLOWS, dataset="walks", split="tst"), "split: expected"),
        (EvaluationConfig(name="a", flows={"a": "runs/b"}, dataset="walks"), "no finished run"),
        (PublishConfig(model="m", source="runs/gone"), "no finished run 'gone'"),
        (PublishConfig(model="m", source="runs/teacher", evaluation="e"), "there is no 'e'"),
        (ServingConfig(models={"m": "models/gone@best"}), "no 'best' of model 'gone'"),
        (PrepareConfig(DigitsConfig(name="walks")), "another data set 'walks'"),
    ],
)
def test_a_mistake_is_found_before_anything_begins(
    storage: StorageConfig, config: Any, message: str
) -> None:
    with pytest.raises(FlowkdError, match=f"(?s){message}"):
        check_job(config, storage)


def test_what_other_jobs_make_is_not_looked_for(storage: StorageConfig) -> None:
    config = training("a", dataset="later", objective={**DISTILLATION, "teacher": "runs/later"})
    assert needs(config) == {"datasets/later", "runs/later"}
    check_job(config, storage, coming=makes(PrepareConfig(DigitsConfig(name="later"))))
    with pytest.raises(FlowkdError):
        check_job(config, storage, coming=makes(PrepareConfig(DigitsConfig(name="other"))))


def test_a_store_that_cannot_be_written_is_found(storage: StorageConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "file/store"):
        with pytest.raises(FlowkdError, match="expected a folder as the store"):
            check_job(SOUND["import"], StorageConfig.from_uri(str(tmp_path / place)))
    with pytest.raises(FlowkdError, match="cannot share memory:"):
        check_job(SOUND["teacher"], StorageConfig.from_uri("memory://checked"))


def test_a_mistake_starts_no_cluster(storage: StorageConfig, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(dump_config(training("a", dataset="gone")))
    command = [sys.executable, "-m", "jobs.train_teacher", "--config", "run.yaml"]
    done = subprocess.run(
        [*command, "--store", storage.uri],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: no dataset 'gone'")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / ".flowkd").exists()


def test_the_job_of_one_objective_refuses_the_other(storage: StorageConfig) -> None:
    with pytest.raises(FlowkdError, match="expected maximum_likelihood; got distillation"):
        check_teacher(training("a", objective=DISTILLATION), storage)
    with pytest.raises(FlowkdError, match="expected distillation; got maximum_likelihood"):
        check_distillation(training("a"), storage)
