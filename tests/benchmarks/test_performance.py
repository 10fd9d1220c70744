"""What make bench-all measures, on tiny sizes, and what its page makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.performance import __main__ as command
from benchmarks.performance import page
from benchmarks.performance.cases import CASES
from benchmarks.performance.cells import TIMED, WIDTHS, Cell, all_cells, chosen
from benchmarks.performance.measure import ACTIONS, OURS, measure, ratios
from flowkd.flows.build import build_flow

TINY = {"glow": (1, 8, 8)}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FLOWKD_ENGINE", "torch")  # graphs take seconds to build
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", TIMED)
def test_a_cell_times_all_contenders_in_every_action(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CASES, name, replace(CASES[name], depth=1))
    found = measure(Cell(name, TINY.get(name, (5,)), 4, 2, 1), seconds=0)
    assert set(found["actions"]) == set(ACTIONS)
    for each in found["actions"].values():
        assert set(each["over_floor"]) == {OURS, *CASES[name].peers}
        assert min(each["ms"].values()) > 0
    assert found["engine"] == "torch"


@pytest.mark.parametrize("name", CASES)
def test_networks_of_all_libraries_are_of_about_the_same_size(name: str) -> None:
    case, shape = CASES[name], TINY.get(name, (21,))
    ours = weights(build_flow(case.config(shape, 32)))
    for build in case.peers.values():
        theirs = weights(build(case.size(shape, 32)).module)
        # An odd number of columns is not halved alike in all of them.
        assert theirs == pytest.approx(ours, rel=0.06)


def weights(flow: nn.Module) -> int:
    return sum(value.numel() for value in flow.parameters() if value.dim() > 1)


def test_rows_are_fewer_only_where_a_call_would_take_many_seconds() -> None:
    fewer = [cell for cell in all_cells() if cell.rows < cell.batch]
    assert {(cell.case, cell.width, cell.batch) for cell in fewer} == {("glow", 512, 256)}


def test_a_name_that_no_cell_has_is_refused() -> None:
    assert {cell.width for cell in chosen(all_cells(), [f"width {WIDTHS[0]}"])} == {WIDTHS[0]}
    with pytest.raises(ValueError, match=r"--only: expected a part of .* got 'widths'"):
        chosen(all_cells(), ["widths"])


def times(ours: float, theirs: dict[str, float]) -> dict[tuple[str, str], list[float]]:
    slower = (1, 2, 4)  # rounds in which the machine is
    found = {("infer", "a"): 3.0, ("infer", "b"): 1.0, ("learn", "a"): 1.0, ("learn", "b"): 2.0}
    for action in ACTIONS:
        found |= {(action, OURS): ours, **{(action, name): value for name, value in theirs.items()}}
    return {key: [value * slow for slow in slower] for key, value in found.items()}


def test_ratios_are_within_a_round_to_the_faster_floor_and_the_fastest_peer() -> None:
    found = ratios(times(0.5, {"x": 2.0, "y": 1.5}), ["a", "b"], [OURS, "x", "y"])
    log_prob, step = found["actions"]["log_prob"], found["actions"]["train"]
    assert (log_prob["floor"], step["floor"]) == ("b", "a")
    assert log_prob["over_floor"][OURS] == [0.5, 0.5, 0.5]
    assert (log_prob["fastest_peer"], log_prob["ahead"]) == ("y", [3.0, 3.0, 3.0])


def results(ours: float) -> dict[str, dict[str, Any]]:
    cell = Cell("glow", (3, 32, 32), 128, 16, 1)
    found = ratios(times(ours, {"normflows": 1.0}), ["a", "b"], [OURS, "normflows"])
    facts = {"rows": 16, "engine": "onnx", "others": 0.0, "load": 0.5}
    return {cell.key: {**vars(cell), **facts, **found}}


def test_parts_of_the_results_add_up_and_another_machines_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results" / "bench-all.json"
    command.merge(path, {"one": {}})
    command.merge(path, {"two": {}})
    assert set(json.loads(path.read_text())["cells"]) == {"one", "two"}
    monkeypatch.setattr(command, "cpu_name", lambda: "another")
    command.merge(path, {"three": {}})
    assert set(json.loads(path.read_text())["cells"]) == {"three"}


@pytest.mark.parametrize(("ours", "said"), [(0.5, "ahead in all of 3"), (2.0, "behind in 3 of 3")])
def test_the_page_says_where_flowkd_is_behind_and_which_aims_are_missed(
    ours: float, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    about = {"cpu": "a CPU", "cores": 2, "torch": "2", "onnxruntime": "1", "peers": {"x": "1"}}
    written = page.document({"about": about, "date": "today", "cells": results(ours)})
    assert said in written
    assert ("missed by" in written) == (ours > 1)
    assert (tmp_path / "performance-glow.png").read_bytes()[:4] == b"\x89PNG"
