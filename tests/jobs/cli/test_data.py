"""`flowkd data`: what is imported is listed and shown, and a mistake is explained."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.store.store import Store
from flowkd.training.setup import run_in_process
from jobs.cli.main import app
from tests.support.small_runs import training

ROWS = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path / "rows.npy"


def call(store: Store, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["data", *arguments, "--store", store.uri])
    return result.exit_code, result.output


def test_a_data_set_is_imported_listed_and_shown(local_store: Store, source: Path) -> None:
    arguments = ["import", "table", "--source", str(source), "--name", "mine"]
    code, said = call(local_store, *arguments, "--set", "val_fraction=0.2", "--json")
    assert code == 0, said
    assert json.loads(said)["rows"] == {"train": 42, "val": 12, "test": 6}
    found = load_split(local_store, read_manifest(local_store, "mine"), "train").x.numpy()
    assert {tuple(row) for row in found} < {tuple(row) for row in ROWS}
    code, said = call(local_store, "list", "--json")
    assert [each["name"] for each in json.loads(said)] == ["mine"]
    code, said = call(local_store, "show", "mine")
    assert (code, "train: 42" in said, str(source) in said.replace("\n", "")) == (0, True, True)


def test_pictures_and_histograms_are_drawn(
    local_store: Store, source: Path, tmp_path: Path
) -> None:
    call(local_store, "import", "digits")
    call(local_store, "import", "table", "--source", str(source), "--name", "mine")
    drawn = {}
    for name in ("digits", "mine"):
        png = tmp_path / f"{name}.png"
        assert call(local_store, "show", name, "--png", str(png))[0] == 0
        drawn[name] = np.asarray(Image.open(io.BytesIO(png.read_bytes())))
    assert drawn["digits"].shape == (8 * 65 - 1, 8 * 65 - 1)  # 64 pictures, enlarged to 64 pixels
    assert set(np.unique(drawn["digits"])) == set(np.rint(np.arange(17) * 255 / 16))
    assert len(np.unique(drawn["mine"].reshape(-1, 4), axis=0)) > 10  # not an empty canvas


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (["import", "table"], ["source: missing", "name: missing"]),
        (["import", "nothing"], ["'nothing'", " table,"]),
        (["import", "table", "--source", "gone.csv", "--name", "a"], ["no file 'gone.csv'"]),
        (["import", "digits", "--set", "sed=1"], ["sed: unknown key"]),
        (["show", "gone"], ["no dataset 'gone'", "datasets there: none yet"]),
    ],
)
def test_a_mistake_is_explained(
    local_store: Store, arguments: list[str], messages: list[str]
) -> None:
    Path(local_store.path()).mkdir()
    code, said = call(local_store, *arguments)
    assert code == 1
    assert all(message in said for message in messages), said
    assert local_store.list("datasets") == []


def test_remarks_are_said_by_the_import_and_by_show_with_the_option_that_mends_them(
    local_store: Store, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.normal(size=500), rng.poisson(3.0, 500)], axis=1)
    np.save(tmp_path / "rows.npy", rows)
    arguments = ["import", "table", "--source", str(tmp_path / "rows.npy"), "--name", "mine"]
    for words in (arguments, ["show", "mine"]):
        code, said = call(local_store, *words)
        assert code == 0, said
        assert "remark: `x1` has" in said
        assert "`--set dequantize.x1=1`" in said
        assert "`--set 'drop=[x1]'`" in said
    arguments = [*arguments, "--replace"]
    code, said = call(local_store, *arguments, "--set", "strict=true")
    assert (code, "- `x1` has" in said) == (1, True), said
    code, said = call(local_store, *arguments, "--set", "missing.x1=2")
    assert "left out: " in said
    assert "rows whose x1 is 2" in said
    mended = [*arguments, "--set", "strict=true", "--set", "dequantize.x1=1"]
    code, said = call(local_store, *mended, "--set", "transforms.x1=log")
    assert (code, "remark: " in said) == (0, False), said
    line = next(line for line in said.splitlines() if line.startswith("x1"))
    assert line.split()[-2:] == ["1", "log"]


def test_the_columns_are_shown_of_a_model_too(memory_store: Store, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(
        "ra,dec\n" + "".join(f"{a},{b}\n" for a, b, _ in ROWS.tolist())
    )
    arguments = ["import", "table", "--source", str(tmp_path / "rows.csv"), "--name", "walks"]
    assert call(memory_store, *arguments, "--set", "units.ra=deg")[0] == 0
    list(run_in_process(training("teacher"), memory_store))
    shown = ["models", "show", "runs/teacher", "--store", memory_store.uri, "--json"]
    data = json.loads(CliRunner().invoke(app, shown).output)["data"]
    assert data == {"columns": ["ra", "dec"], "units": {"ra": "deg"}}
