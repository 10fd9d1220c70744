"""A user's data become one file that says what was left out and why, and runs unedited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from flowkd.config import load_config
from flowkd.data.manifest import read_manifest
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from jobs.cli.main import app
from jobs.workflow.config import WorkflowConfig

SHORT = [
    f"--set={role}.{key}"
    for role in ("teacher", "student")
    for key in ("train.steps=6", "train.warmup_steps=1", "train.learning_rate=0.001",
                "batch_size=16", "validation_rows=20")
]  # fmt: skip
SMALL_GLOW = "--set=teacher.flow={kind: glow, levels: 1, depth: 2, width: 8}"


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("FLOWKD_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def rows(count: int, columns: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, columns)).cumsum(1)


def flowers() -> str:
    """A CSV as pandas writes it, with columns that are no variables."""
    kinds = ["setosa", "versicolor", "virginica"]
    lines = [",a,b,unit,copy,star_id,code,seen,species"]
    for n, (a, b) in enumerate(rows(200, 2)):
        lines.append(
            f"{n},{a:.5f},{b:.5f},7,{a:.5f},{1000 + n * 7 % 150},{10**18 + n},"
            f"2020-01-{n % 28 + 1:02}x{n},{kinds[n % 3]}"
        )
    Path("flowers.csv").write_text("\n".join(lines) + "\n")
    return "flowers.csv"


def walks() -> str:
    np.save("walks.npy", rows(200, 3).astype(np.float32))
    return "walks.npy"


def pets() -> str:
    generator = np.random.default_rng(0)
    for kind in ("cats", "dogs"):
        Path("pets", kind).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(0, 255, (9, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(f"pets/{kind}/{number}.png")
    return "pets"


@pytest.mark.parametrize("made", [flowers, walks, pets])
def test_a_new_file_runs_unedited(made: Callable[[], str], tmp_path: Path) -> None:
    call("new", made())
    name = made.__name__
    short = [*SHORT, *([SMALL_GLOW] if made is pets else [])]
    short += ["--set=deploy=none", "--set=evaluate.seconds=0.05", "--set=publish.force=true"]
    printed = call("run", f"{name}.yaml", *short)
    assert str(tmp_path / f"{name}.html") in printed
    columns = load_artifact(Store(str(tmp_path / "store")), f"models/{name}@best").columns
    assert columns == {"flowers": ["a", "b"], "walks": ["x0", "x1", "x2"], "pets": None}[name]
    assert (tmp_path / f"{name}.html").read_text().lower().startswith("<!doctype html>")


def written(source: str, *options: str) -> dict[str, Any]:
    call("new", source, *options)
    (path,) = Path().glob("*.yaml")
    load_config(WorkflowConfig, path)
    found: dict[str, Any] = yaml.safe_load(path.read_text())["data"]
    return found


def test_columns_that_are_no_variables_are_left_out_and_the_reason_is_told() -> None:
    found = written(flowers())
    assert found["drop"] == ["unit", "copy", "star_id", "code", "seen"]
    assert found["label_column"] == "species"
    text = Path("flowers.yaml").read_text()
    for line in (
        "- unit  # constant, 7",
        "- copy  # equals a",
        "- star_id  # an identifier, by its name",
        "- code  # an identifier: more digits than a number can hold",
        "- seen  # text of 200 different values",
        "# 200 rows of 2 columns: a, b.",
        "# group: star_id  #",
    ):
        assert line in text


def test_what_a_column_holds_becomes_options_or_hints() -> None:
    table = pa.table({
        "x": rows(400, 1)[:, 0],
        "count": np.random.default_rng(0).poisson(3, 400),
        "energy": [None if n == 5 else float(n % 7) + n / 1000 for n in range(400)],
        "big": np.arange(400) + 2**60,
    })  # fmt: skip
    Path("parts").mkdir()
    for number in range(2):
        pyarrow.parquet.write_table(table.slice(200 * number, 200), f"parts/{number}.parquet")
    found = written("parts")
    assert found["dequantize"] == {"count": 1}
    assert found["incomplete"] == "drop"
    assert found["drop"] == ["big"]
    assert "  # context_columns: [energy]  #" in Path("parts.yaml").read_text()


def test_the_user_names_what_the_density_is_conditioned_on() -> None:
    np.savetxt("rows.csv", rows(50, 4), delimiter=",", header="a,b,c,d", comments="")
    call("new", "rows.csv", "--context", "d", "--context", "b")
    assert yaml.safe_load(Path("rows.yaml").read_text())["data"]["context_columns"] == ["d", "b"]
    for named, message in (
        (["--context", "D"], "D"),
        (["--set", "context=[d]"], "context: unknown key; did you mean context_columns"),
        (["--context", "d", "--label", "a"], "context_columns or label_column; got both"),
    ):
        refused = CliRunner().invoke(app, ["new", "rows.csv", "--output", "other.yaml", *named])
        assert refused.exit_code == 1
        assert message in refused.output
        assert not Path("other.yaml").exists()


def test_the_family_of_the_teacher_is_named_with_its_reason() -> None:
    walks()
    for family in ("autoregressive", "spline"):
        path = f"{family}.yaml"
        call("new", "walks.npy", "--family", family, "--output", path)
        teacher = load_config(WorkflowConfig, Path(path)).teacher
        assert teacher["flow"]["kind"] == ("coupling" if family == "spline" else family)
        assert teacher["flow"].keys() >= {"depth", "width"}
    assert "log_prob takes one pass, and samples one for" in Path("autoregressive.yaml").read_text()
    call("new", "walks.npy")
    text = Path("walks.yaml").read_text()
    assert "couplings: " in text
    assert "or another, by `flowkd new --family`: spline, coupling, autoregressive" in text
    [line] = [line for line in text.splitlines() if line.startswith("  # flow: {kind: ")]
    Path("set.yaml").write_text(text.replace(line, line.replace("# ", "")))
    chosen = load_config(WorkflowConfig, Path("set.yaml"), ["teacher.flow.depth=3"])
    assert chosen.teacher["flow"]["depth"] == 3
    refused = CliRunner().invoke(app, ["new", "walks.npy", "--family", "maf", "--output", "b.yaml"])
    assert refused.exit_code == 1
    assert "--family: expected spline, coupling, autoregressive, glow; got 'maf'" in refused.output
    refused = CliRunner().invoke(app, ["new", pets(), "--family", "spline"])
    assert "family: expected glow for pictures" in " ".join(refused.output.split())


def test_a_table_within_a_file_is_named_by_the_user() -> None:
    with h5py.File("runs.h5", "w") as file:
        file["first"], file["second"] = rows(50, 2), rows(60, 3)
    refused = CliRunner().invoke(app, ["new", "runs.h5"])
    assert refused.exit_code == 1
    assert "first (50 rows), second (60 rows); choose one by `key`; here as --set" in refused.output
    assert written("runs.h5", "--set", "key=second")["key"] == "second"


def test_a_data_set_of_the_store_is_taken_by_its_name(tmp_path: Path) -> None:
    walks()
    call("data", "import", "table", "--source", "walks.npy", "--name", "mine")
    call("new", "mine", "--name", "again", "--output", "sub/other.yaml")
    config = load_config(WorkflowConfig, "sub/other.yaml")
    assert (config.name, config.data) == ("again", "mine")
    assert read_manifest(Store(str(tmp_path / "store")), "mine").event_shape == (3,)


def test_few_large_pictures_are_cut_and_many_are_scaled() -> None:
    Path("photos").mkdir()
    for number in range(3):
        pixels = np.full((700, 900), number * 40, np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")
    found = written("photos")
    assert found["crop"] == 16
    assert (found["mode"], found["split_by"]) == ("grid", "tile")
    assert found["channels"] == 1
    assert "labels" not in found


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.csv", "there is no 'gone.csv'"),
        ("empty", "expected tables or pictures in empty; got none"),
        (
            "words.csv",
            "expected at least 2 columns of numbers that vary in words.csv; got none; b: const",
        ),
        ("walks.npy", "walks.yaml is there already"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(source: str, message: str) -> None:
    Path("empty").mkdir()
    Path("words.csv").write_text("a,b\n" + "x,1\n" * 30)
    Path("walks.yaml").write_text("mine")
    walks()
    refused = CliRunner().invoke(app, ["new", source])
    assert refused.exit_code == 1
    assert message in refused.output
    assert Path("walks.yaml").read_text() == "mine"
