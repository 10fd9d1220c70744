"""What make bench-families measures, on tiny sizes, and what its page makes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.families.cells import FAMILIES, SlowTeacher, all_cells, quick_cells
from benchmarks.families.measure import FORM, measure
from benchmarks.families.one_pass import new_flows, weights
from benchmarks.families.page import document
from benchmarks.performance.cases import CASES
from benchmarks.performance.cells import Cell
from benchmarks.performance.measure import LEAST_ROUNDS, in_turns

ABOUT = {"cpu": "a CPU", "cores": 2, "torch": "2", "onnxruntime": "1", "peers": {"zuko": "1"}}
TEACHER = SlowTeacher(
    columns=4, rows=2, depth=2, width=8, student_depth=1, student_width=4, steps=1
)
FACTS = {"load": 0.5}


@pytest.fixture(scope="module")
def results() -> Any:
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLOWKD_ENGINE", "torch")  # graphs take seconds to build
        for name in FAMILIES:
            patch.setitem(CASES, name, replace(CASES[name], depth=1))
        cells = [*(Cell(name, (4,), 4, 2, 1) for name in FAMILIES), TEACHER]
        found = {cell.key: {**vars(cell), **FACTS, **measure(cell, 0.0)} for cell in cells}
    torch.set_num_threads(threads)
    return {"about": ABOUT, "date": "today", "cells": found}


def test_each_family_is_timed_beside_three_libraries_of_its_size(results: Any) -> None:
    for cell in results["cells"].values():
        if cell["case"] not in FAMILIES:
            continue
        peers = {"flowkd", "normflows", "nflows", "zuko"}
        assert set(cell["actions"]["log_prob"]["ms"]) == {*peers, FORM}
        assert set(cell["actions"]["train"]["ms"]) == peers
        assert set(cell["weights"]) == peers


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_direction_is_one_pass_in_all_libraries(name: str) -> None:
    kind = CASES[name]
    one_pass = {"autoregressive": (1, 0), "autoregressive spline": (1, 0),
                "inverse autoregressive": (0, 1)}.get(name, (1, 1))  # fmt: skip
    for build in kind.peers.values():
        flow = build(replace(kind.size((6,), 8), depth=1))
        first = next(
            part
            for part in flow.module.modules()
            if isinstance(getattr(part, "weight", None), torch.nn.Parameter)
        )
        found = (
            calls_of(first, partial(flow.log_prob, torch.zeros(2, 6))),
            calls_of(first, partial(flow.sample, 2)),
        )
        assert tuple(count == 1 for count in found) == one_pass


def calls_of(module: torch.nn.Module, call: Callable[[], object]) -> int:
    seen: list[int] = []
    hook = module.register_forward_hook(lambda *_: seen.append(1))
    call()
    hook.remove()
    return len(seen)


def test_the_slow_teacher_s_jacobi_samples_are_the_exact_ones(results: Any) -> None:
    found = results["cells"][TEACHER.key]
    assert found["away"] <= 1e-3
    assert len(found["iterations"]) == TEACHER.depth
    assert set(found["ways"]) == {"zuko", "exact", "jacobi", "student"}


def test_the_student_is_at_most_a_quarter_of_the_teacher() -> None:
    found = {name: weights(flow) for name, flow in new_flows(SlowTeacher()).items()}
    assert found["student"] <= 0.25 * found["teacher"]
    assert found["zuko"] == found["teacher"]


def test_a_slow_call_has_fewer_rounds_than_the_others() -> None:
    now = [0.0]

    def takes(seconds: float) -> Any:
        def call() -> None:
            now[0] += seconds

        return call

    times = in_turns({"slow": takes(4.0), "quick": takes(0.01)}, 1.0, lambda: now[0])
    assert len(times["slow"]) == LEAST_ROUNDS < len(times["quick"])


def test_the_page_says_which_aims_are_missed(results: Any) -> None:
    fast, slow = copy.deepcopy(results), copy.deepcopy(results)
    for found, ahead in ((fast, 5.0), (slow, 0.5)):
        for cell in found["cells"].values():
            for each in cell.get("actions", {}).values():
                each["ahead"] = [ahead] * 3
                each["form_ahead"] = each["form_ahead"] and [ahead] * 3
            for way in cell.get("ways", {}).values():
                way["faster"] = [100 * ahead] * 3
    assert "missed" not in document(fast)
    assert document(slow).count("**missed**") == 4
    assert all(name in document(fast) for name in FAMILIES.values())


def test_quick_cells_are_small_ones_of_each_family() -> None:
    assert {cell.case for cell in quick_cells()} == {cell.case for cell in all_cells()}
    assert max(cell.shape[0] for cell in quick_cells()) < 63
