"""A student's size by the time that it takes: measured, kept, and refused where none is so fast."""

from __future__ import annotations

import time

import pytest
import yaml

from flowkd.distillation.objective import DistillationConfig, MaximumLikelihoodConfig
from flowkd.distillation.warmstart import check_warm_start
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import StepsConfig
from flowkd.flows.flow import Flow
from flowkd.flows.glow import GlowConfig
from flowkd.store.store import Store
from flowkd.training.choices import timed_shape as timed
from flowkd.training.choices.timed_shape import candidates, timed_shape
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from tests.support.small_runs import training

LARGE = CouplingConfig(event_shape=(6,), mean=0.0, scale=1.0, depth=8, width=64)
PICTURES = GlowConfig(
    event_shape=(3, 16, 16), mean=0.0, scale=1.0, levels=3, depth=(8, 8, 4), width=64
)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed, "MEASURED_SECONDS", 0.02)


def test_the_shapes_to_be_timed_begin_with_what_keeps_most_of_depth_and_width() -> None:
    shapes = candidates(LARGE, 4.0)
    least = [min(flow.depth / LARGE.depth, flow.width / LARGE.width) for flow in shapes]
    assert least == sorted(least, reverse=True)
    assert len({flow.model_dump_json() for flow in shapes}) == len(shapes) > 20
    assert not any(flow.depth == 8 and flow.width > 40 for flow in shapes)
    assert LARGE not in candidates(LARGE, 1.01)


def test_shapes_of_pictures_fold_and_have_levels_alike_and_growing_ones() -> None:
    shapes = candidates(PICTURES, 4.0)
    for flow in shapes:
        check_warm_start("fold", flow, PICTURES)
        assert all(size.width % 16 == 0 or size.width <= 24 for size in flow.level_sizes)
    depths = [[size.depth for size in flow.level_sizes[:2]] for flow in shapes]
    widths = [[size.width for size in flow.level_sizes] for flow in shapes]
    assert all(each == sorted(each) for each in [*depths, *widths])
    for found in (depths, widths):
        assert {len(set(each)) == 1 for each in found} == {True, False}


@pytest.mark.parametrize(("larger", "of_steps"), [(PICTURES, 0.05), (PICTURES, 0.6), (LARGE, 0.4)])
def test_the_first_shape_that_is_fast_enough_is_found_with_few_of_them_timed(
    monkeypatch: pytest.MonkeyPatch, larger: StepsConfig, of_steps: float
) -> None:
    deep = sum(size.depth for size in larger.level_sizes)

    def seconds(config: object) -> float:
        assert isinstance(config, StepsConfig)
        steps = sum(size.depth for size in config.level_sizes)
        return of_steps * steps + (1 - of_steps) * deep * config.work / larger.work

    def ratios(teacher: Flow, student: Flow, rows: int) -> tuple[float, float]:
        times = seconds(teacher.config) / seconds(student.config)
        return times, 1.5 * times

    monkeypatch.setattr(timed, "_ratios", ratios)
    limit = seconds(larger) / 4
    fast = [flow for flow in candidates(larger, 4.0) if seconds(flow) <= limit]
    found = timed_shape(larger, 4.0)
    assert found.flow == fast[0]
    assert found.timed <= 10


def test_a_student_is_as_fast_as_it_was_asked_to_be_and_all_that_are_compared_have_one_shape(
    taught_store: Store,
) -> None:
    runs = {}
    for name, objective in {
        "plain": {"kind": "maximum_likelihood", "smaller_than": "runs/teacher"},
        "distilled": {"kind": "distillation", "teacher": "runs/teacher"},
    }.items():
        config = training(name, flow=None, objective={**objective, "throughput": 1.1})
        runs[name] = resolve_run(config, taught_store)
    flows = [run.flow for run in runs.values()]
    assert flows[0] == flows[1]
    teacher = runs["distilled"].teacher.flow
    assert count_parameters(build_flow(flows[0])) < count_parameters(build_flow(teacher))
    notes = [run.notes[0] for run in runs.values()]
    assert "times its log_prob" in notes[0]
    assert "shapes timed in" in notes[0]
    assert "as another run found" in notes[1]
    [kept] = taught_store.list("shapes")
    found = yaml.safe_load(taught_store.read("shapes", kept))
    assert min(found["log_prob"], found["sampling"]) >= 1.1
    list(run_in_process(training("done", flow=None, objective=objective | {"throughput": 1.1}),
                        taught_store))  # fmt: skip
    resolved = yaml.safe_load(taught_store.read("runs", "done", "resolved.yaml"))
    assert resolved["config"]["flow"]["width"] == flows[0].width


def test_a_picture_flow_has_a_shape_of_levels_that_is_measured_as_fast() -> None:
    larger = GlowConfig(event_shape=(1, 8, 8), mean=0.0, scale=1.0, levels=2, depth=4, width=32)
    found = timed_shape(larger, 1.5)
    assert min(found.log_prob, found.sampling) >= 1.5
    assert found.timed <= timed.MOST_TIMED
    assert found.flow in candidates(larger, 1.5)


def test_how_many_rows_are_timed_is_not_decided_by_the_first_call() -> None:
    teacher = build_flow(LARGE)
    log_prob, calls = teacher.log_prob, []

    def slow_at_first(*given: object) -> object:
        calls.append(given)
        began = time.process_time()
        while len(calls) == 1 and time.process_time() - began < 2 * timed.CALL_SECONDS:
            pass
        return log_prob(*given)

    teacher.log_prob = slow_at_first
    assert timed._rows(teacher) == timed.TABLE_ROWS


def test_a_throughput_that_no_shape_has_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"the fastest of the shapes reaches .* got 1e\+06"):
        timed_shape(LARGE, 1e6)


@pytest.mark.parametrize("kind", [DistillationConfig, MaximumLikelihoodConfig])
def test_share_and_throughput_are_one_or_the_other(kind: type) -> None:
    reference = {"teacher": "runs/teacher"} if kind is DistillationConfig else {}
    with pytest.raises(ValueError, match=r"got share: 0\.5 and throughput: 4: leave one of them"):
        kind(share=0.5, throughput=4, **reference)
    assert kind(**reference).parameters_share == 0.25
