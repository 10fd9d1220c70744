"""A teacher of another library is named once: it is taken over, and students of it are one pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import zuko
from typer.testing import CliRunner

from flowkd.config import load_config
from flowkd.registry.artifact_manifest import versions
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from jobs.cli.main import app
from jobs.pipeline import workflow_specs
from jobs.submission import Options
from jobs.workflow.config import WorkflowConfig

BUILDER = """
import zuko

def build():
    return zuko.flows.NSF(3, transforms=1, hidden_features=(24, 24))
"""
SHORT = [
    f"--set={key}"
    for key in (
        "student.train.steps=6", "student.train.warmup_steps=1", "deploy=none", "plain=false",
        "student.train.learning_rate=0.001", "student.batch_size=16", "student.validation_rows=20",
        "student.objective.samples.rows=20", "evaluate.seconds=0.05", "evaluate.quality=null",
        "evaluate.engine=torch", "publish.force=true",
    )
]  # fmt: skip
TAKEN = ("--teacher", "zuko:ways_builders:build", "--weights", "flow.pt")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("FLOWKD_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    Path("ways_builders.py").write_text(BUILDER)
    torch.manual_seed(0)
    flow = zuko.flows.NSF(3, transforms=1, hidden_features=(24, 24))
    torch.save(flow.state_dict(), "flow.pt")
    np.save("walks.npy", np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32))
    yield
    sys.modules.pop("ways_builders", None)


def test_a_teacher_of_zuko_is_taken_over_once_and_its_student_samples_in_one_pass(
    tmp_path: Path,
) -> None:
    new = CliRunner().invoke(app, ["new", "walks.npy", *TAKEN])
    assert new.exit_code == 0, new.output
    for again in (False, True):
        run = CliRunner().invoke(app, ["run", "walks.yaml", *SHORT])
        assert run.exit_code == 0, run.output
        assert ("taken over before" in run.output) == again
    store = Store(str(tmp_path / "store"))
    assert len(versions(store, "walks-teacher")) == 1
    teacher = load_artifact(store, "models/walks-teacher@best")
    student = load_artifact(store, "models/walks@best")
    assert (teacher.flow.one_pass["sample"], student.flow.one_pass["sample"]) == (False, True)
    assert student.manifest.lineage.teacher == f"models/walks-teacher@{teacher.version}"
    theirs = zuko.flows.NSF(3, transforms=1, hidden_features=(24, 24))
    theirs.load_state_dict(torch.load("flow.pt"))
    x = torch.randn(20, 3)
    torch.testing.assert_close(teacher.flow.log_prob(x), theirs().log_prob(x), atol=1e-5, rtol=0)
    specs = workflow_specs(Path("walks.yaml"), [], Options(priority=0))
    taken = next(spec for spec in specs if spec.kind == "import_model")
    assert taken.config["source"]["weights"] == str(tmp_path / "flow.pt")
    distilled = next(spec for spec in specs if spec.id.endswith(".distilled"))
    assert taken.id in distilled.depends_on


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--weights", "flow.pt"), "--weights: expected --teacher LIBRARY:package"),
        (TAKEN[:2], "or a flow of another library with --weights FILE; got 'zuko:ways"),
        ((*TAKEN, "--family", "spline"), "--family: expected none, for the teacher is zuko:ways"),
        (("--teacher", "runs/a", "--weights", "flow.pt"), "--weights: expected none, for runs/a"),
        (("--teacher", "torch:ways_builders:build", *TAKEN[2:]), "library"),
        (("--teacher", "zuko:ways_builders:other", *TAKEN[2:]), "no attribute 'other'"),
        ((*TAKEN[:3], "gone.pt"), "weights: expected a file of weights; there is no 'gone.pt'"),
    ],
)
def test_a_teacher_that_is_not_there_is_refused_before_a_file_is_written(
    options: tuple[str, ...], message: str
) -> None:
    refused = CliRunner().invoke(app, ["new", "walks.npy", *options])
    assert refused.exit_code == 1
    assert message in " ".join(refused.output.split())
    assert not Path("walks.yaml").exists()


def test_a_model_of_the_store_is_a_teacher_by_its_reference() -> None:
    done = CliRunner().invoke(app, ["new", "walks.npy", "--teacher", "models/large@best"])
    assert done.exit_code == 0, done.output
    assert load_config(WorkflowConfig, Path("walks.yaml")).teacher == "models/large@best"
