"""A small study on Ray: it trains, measures and documents once, and never what is there already."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from cluster.storage import StorageConfig
from flowkd.config import parse_config
from flowkd.errors import ConfigError
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.logs.metrics import read_log
from jobs.studies.config import StudyConfig
from jobs.studies.outcomes import RunOutcome
from jobs.studies.report import study_page
from jobs.studies.runner import train_studies
from jobs.study import app
from tests.support.pages import assert_stands_alone

TRAIN = {"steps": 3, "learning_rate": 1e-3, "warmup_steps": 1}
STUDY: dict[str, Any] = {
    "name": "tiny",
    "title": "Tiny digits",
    "dataset": {"kind": "digits", "name": "digits-tiny", "labels": False},
    "train_rows": 64,
    "validation_rows": 50,
    "teacher": {
        "flow": {"kind": "glow", "levels": 1, "depth": 3, "width": 6},
        "train": TRAIN,
        "batch_size": 32,
        "validate_every": 1,
    },
    "student": {
        "flow": {"kind": "glow", "levels": 1, "depth": 2, "width": 4},
        "train": TRAIN,
        "batch_size": 32,
        "validate_every": 1,
    },
    "learning_rates": [0.001, 1e9],
    "teacher_seeds": [0],
    "student_seeds": [0, 1],
    "arms": {
        "plain": {"about": "data alone"},
        "fold": {"about": "folded", "objective": {"warm_start": "fold"}, "seed_pairs": [[0, 0]]},
        "progressive": {
            "about": "in two stages",
            "intermediate": {"kind": "glow", "levels": 1, "depth": 3, "width": 5},
            "objective": {"warm_start": "fold"},
            "seed_pairs": [[0, 1]],
        },
        "plain-matched": {"about": "as long as fold", "cpu_matched_to": "fold"},
    },
    "best": "fold",
    "throughput_seconds": 0.05,
}
RUNS = [
    "fold-t0-s0",
    "plain-lr0.001-s0",
    "plain-lr1e09-s0",
    "plain-matched-s0",
    "plain-matched-s1",
    "plain-s1",
    "progressive-t0-intermediate-s1",
    "progressive-t0-s1",
    "teacher-t0",
]

Call = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the study's file, in which it has been run once."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return folder


@pytest.fixture(scope="module")
def call(folder: Path, ray_driver: None) -> Call:
    """Calls the job as the command line does, and returns what it printed."""

    def call(*more: str) -> str:
        arguments = ["--config", str(folder / "tiny.yaml"), "--store", str(folder / "store")]
        arguments += ["--results", str(folder / "study.json")]
        arguments += ["--document", str(folder / "docs/study.md"), *more]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return done.output

    return call


@pytest.fixture(scope="module")
def first(call: Call) -> str:
    """What the first call printed."""
    return call()


def test_all_runs_are_trained_and_one_that_diverges_does_not_stop_the_others(
    folder: Path, first: str
) -> None:
    store = Store(str(folder / "store"))
    assert store.list("runs") == [f"study-tiny-{name}" for name in RUNS]
    for name in RUNS:
        finished = store.exists("runs", f"study-tiny-{name}", "result", "manifest.json")
        assert finished == (name != "plain-lr1e09-s0")
        assert store.exists("runs", f"study-tiny-{name}", "config.yaml")
    failure = store.read_json("runs", "study-tiny-plain-lr1e09-s0", "failure.json")
    assert "step" in failure["reason"]
    assert failure["reason"] in first


def test_a_curve_can_be_drawn_of_each_run(folder: Path, first: str) -> None:
    records = read_log(Store(str(folder / "store")), "study-tiny-fold-t0-s0")
    assert [r["step"] for r in records if "validation_bits_per_dim" in r] == [1, 2, 3]


def test_a_progressive_student_begins_from_the_intermediate_flow(folder: Path, first: str) -> None:
    store = Store(str(folder / "store"))
    run = load_artifact(store, "runs/study-tiny-progressive-t0-s1").config.training
    assert run["objective"]["warm_from"] == "runs/study-tiny-progressive-t0-intermediate-s1"
    assert run["objective"]["teacher"] == "runs/study-tiny-teacher-t0"
    between = load_artifact(store, "runs/study-tiny-progressive-t0-intermediate-s1").config.training
    assert run["train"]["steps"] + between["train"]["steps"] == 3


def test_the_results_hold_a_line_for_each_run(folder: Path, first: str) -> None:
    results = json.loads((folder / "study.json").read_text())
    arms = [line["arm"] for line in results["runs"]]
    assert arms == ["teacher", *["plain"] * 2, "fold", "progressive", *["plain-matched"] * 2]
    for line in results["runs"]:
        assert line["failed"] is None
        assert 0 < line["test"] < 20
        assert line["learning_rate"] == 0.001
        assert line["cpu_seconds"] >= 0
        assert (line["throughput_ratio"] is None) == (line["arm"] == "teacher")
    (study,) = results["studies"]
    assert study["learning_rates"]["1e+09"] is None


def test_its_page_is_made_of_what_the_store_keeps(folder: Path, first: str) -> None:
    page = assert_stands_alone(study_page(Store(str(folder / "store")), "tiny"))
    assert "study tiny: Tiny digits" in page.text
    assert any(each.startswith("Mean bits per dimension") for each in page.attributes("aria-label"))


def test_the_document_and_its_plots_are_written(folder: Path, first: str) -> None:
    text = (folder / "docs/study.md").read_text()
    assert "Tiny digits" in text
    assert "edge of the list" in text
    for name in ("gap", "curves"):
        if f"(study-tiny-{name}.png)" in text:
            assert (folder / f"docs/study-tiny-{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "(study-tiny-curves.png)" in text


def test_a_second_call_runs_and_measures_nothing_again(
    folder: Path, first: str, call: Call
) -> None:
    store = Store(str(folder / "store"))

    def written() -> dict[str, int]:
        root = folder / "store"
        always = {root / "studies/tiny" / name for name in ("config.yaml", "results.json")}
        return {
            str(path.relative_to(root)): path.stat().st_mtime_ns
            for path in root.rglob("*")
            if path.is_file() and path not in always
        }

    before, results = written(), (folder / "study.json").read_text()
    assert "bits/dim" not in call()
    assert written() == before
    assert (folder / "study.json").read_text() == results
    assert len(store.list("studies", "tiny", "figures")) == 7


def test_a_run_of_another_config_is_refused_or_replaced_with_what_was_made_from_it(
    folder: Path, first: str, ray_driver: None
) -> None:
    storage = StorageConfig.from_uri(str(folder / "store"))
    changed = {**STUDY, "teacher": {**STUDY["teacher"], "batch_size": 16}}
    config = parse_config(StudyConfig, changed, source="test")
    with pytest.raises(ConfigError, match=r"teacher-t0' .*batch_size was 32, now 16.*--replace"):
        list(train_studies([config], storage, {}))
    before = created(storage.store())
    outcomes: dict[str, RunOutcome] = {}
    trained = {done.run for done in train_studies([config], storage, outcomes, replace=True)}
    after = created(storage.store())
    assert "study-tiny-teacher-t0" in trained
    assert "study-tiny-plain-s1" not in trained
    assert len(outcomes) == len(RUNS)
    if after["teacher-t0"] > before["fold-t0-s0"]:  # times are whole seconds
        assert {f"study-tiny-{name}" for name in RUNS if "-t0-" in name} <= trained


def test_few_pictures_are_cross_validated(tmp_path: Path, ray_driver: None) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (7, 8, 12, 3)).astype(np.uint8)
    for number, pixels in enumerate(pictures):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{number}.png")
    dataset = {"kind": "images", "source": str(tmp_path / "pictures"), "name": "mine"}
    arms = {key: STUDY["arms"][key] for key in ("plain", "fold")}
    changes = {
        "dataset": {**dataset, "crop": 4, "mode": "grid"}, "train_rows": None, "folds": 3,
        "arms": arms, "student_seeds": [0], "learning_rates": [0.001],
    }  # fmt: skip
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**STUDY, **changes}, sort_keys=False))
    arguments = ["--config", str(tmp_path / "tiny.yaml"), "--store", str(tmp_path / "store")]
    arguments += ["--results", str(tmp_path / "study.json")]
    done = CliRunner().invoke(app, [*arguments, "--document", str(tmp_path / "study.md")])
    assert done.exit_code == 0, done.output
    store = Store(str(tmp_path / "store"))
    runs = [f"study-tiny-f{n}-{name}" for n in range(3) for name in ("fold-t0-s0", "teacher-t0")]
    assert set(runs) < set(store.list("runs"))
    results = json.loads((tmp_path / "study.json").read_text())
    assert [line["arm"] for line in results["runs"]] == ["teacher", "plain", "fold"]
    text = (tmp_path / "study.md").read_text()
    assert "42 rows in 7 groups in all, cross-validated over 3 folds" in text
    assert "Few independent groups of rows: 7 in all." in text
    for line in results["runs"]:
        assert line["test_standard_error"] > 0
        # Every row is in test once: pooled means are those of all pictures.
        own = [
            store.read_json("studies", f"tiny-f{n}", "figures", f"{name}.json")
            for n, name in _runs(store, line["arm"])
        ]
        rows = [sum(each["test"]["rows"]) for each in own]
        bits = [sum(each["test"]["bits"]) for each in own]
        assert (len(own), sum(rows)) == (3, 42)
        assert line["test"] == pytest.approx(sum(bits) / 42)


def _runs(store: Store, arm: str) -> list[tuple[int, str]]:
    names = [name for name in store.list("runs") if f"-{arm}-" in name]
    return [(int(name.split("-f")[1][0]), name) for name in names]


def created(store: Store) -> dict[str, str]:
    return {
        name: load_artifact(store, f"runs/study-tiny-{name}").manifest.created
        for name in RUNS
        if "1e09" not in name
    }
