"""`flowkd models import`: what it says, and that its page needs no torch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from flowkd.store.store import Store
from jobs.cli.main import app
from tests.flowkd.registry.test_imported import nsf

BUILD = "tests.flowkd.registry.test_imported:nsf"


@pytest.fixture(autouse=True)
def torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWKD_ENGINE", "torch")


@pytest.fixture
def weights(tmp_path: Path) -> str:
    torch.manual_seed(0)
    path = tmp_path / "flow.pt"
    torch.save(nsf().state_dict(), path)
    return str(path)


def call(store: Store, weights: str, *more: str):
    asked = ["--build", BUILD, "--weights", weights, "--model", "jets", "--store", store.uri]
    return CliRunner().invoke(app, ["models", "import", "--from", "zuko", *asked, *more])


def test_a_flow_becomes_a_model(local_store: Store, weights: str) -> None:
    done = call(local_store, weights, "--json", "--mean", "1.0,2.0,3.0", "--scale", "2")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["origin"].startswith("zuko ")
    shown = CliRunner().invoke(
        app, ["models", "show", "models/jets@best", "--json", "--store", local_store.uri]
    )
    flow = json.loads(shown.stdout)["flow"]
    assert (flow["origin"], flow["mean"], flow["scale"]) == (told["origin"], [1.0, 2.0, 3.0], 2.0)
    assert BUILD in json.loads(shown.stdout)["lineage"]["origin"]
    read = CliRunner().invoke(
        app, ["models", "show", "models/jets@best", "--store", local_store.uri]
    )
    assert {"depth: 1", "width: 8"} <= {line.strip() for line in read.stdout.splitlines()}
    assert "layers" not in read.stdout


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--mean", "much"], "--mean: expected a number, or several between commas; got 'much'"),
        (["--mean", "1,2"], "mean"),
        (["--scale", "0"], "expected a positive scale"),
        (["--build", "a b"], "source.build"),
        (["--model", "a/b"], "model"),
    ],
)
def test_bad_options_are_one_clear_line(
    local_store: Store, weights: str, more: list[str], words: str
) -> None:
    done = call(local_store, weights, *more)
    assert done.exit_code != 0
    assert words in str(done.exception or "") + done.output
