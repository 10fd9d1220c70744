"""Each benchmark starts: it is imported, and the configs that it is made of are valid."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import benchmarks
from benchmarks.gpu import CASES, FLOW, measure
from benchmarks.tuning import WAYS, search_config
from benchmarks.warmstart import SMALLER, TEACHERS
from flowkd.flows.build import build_flow, count_parameters

MODULES = [module.name for module in pkgutil.iter_modules(benchmarks.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_each_can_be_imported(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_search_is_a_valid_search(way: str) -> None:
    assert search_config("any", **WAYS[way]).trials


@pytest.mark.parametrize("name", TEACHERS)
def test_each_student_of_a_warm_start_is_smaller_than_its_teacher(name: str) -> None:
    teacher = TEACHERS[name]
    student = teacher.model_copy(update=SMALLER[name])
    for config in (teacher, student):
        assert type(config).model_validate(vars(config)) == config
    if name != "paper":  # the others are built quickly
        assert count_parameters(build_flow(student)) < count_parameters(build_flow(teacher))


def test_each_case_of_a_gpu_runs_on_a_cpu_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("WARM_UP", 1), ("STEPS", 1), ("EVERY", 1), ("ROWS", 8)):
        monkeypatch.setattr(f"benchmarks.gpu.{name}", number)
    monkeypatch.setattr("flowkd.training.compiled.BACKEND", "eager")
    small = FLOW.model_copy(update={"event_shape": (1, 4, 4), "levels": 1, "depth": 1, "width": 4})
    for options in CASES.values():
        assert measure(options, "cpu", small, 8)["milliseconds"] > 0
