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
from jobs.cli.main import app

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
