"""`flowkd runs show`: how far a run came, its curves and its config."""

from __future__ import annotations

import json
import math

from typer.testing import CliRunner

from flowkd.store.store import Store
from jobs.cli.curves import curves_of, sparkline
from jobs.cli.main import app


def test_a_run_is_shown_with_its_curves_and_its_config(taught_store: Store) -> None:
    command = ["runs", "show", "teacher", "--store", taught_store.uri]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "validation, bits/dim" in done.output
    assert "\nconfig:\n" in done.output
    assert "  dataset: walks\n" in done.output
    assert "None" not in done.output
    told = json.loads(CliRunner().invoke(app, [*command, "--json"]).output)
    assert told["config"]["dataset"] == "walks"
    assert told["state"] == "finished"


def test_a_line_falls_as_its_values_fall_and_one_spike_leaves_the_rest_its_shape() -> None:
    falling = [math.exp(-step / 100) for step in range(500)]
    line = sparkline(falling)
    assert len(line) == 60
    assert list(line) == sorted(line, reverse=True)
    assert len(set(line)) == 8
    assert len(set(sparkline([*falling[:60], 1e9]))) > 5
    assert curves_of([{"step": 1, "loss": 1.0}]) == []
