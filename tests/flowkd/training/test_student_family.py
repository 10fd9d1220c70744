"""A student samples in one pass, whatever its teacher does; what cannot be learnt is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import flowkd
from flowkd.data.manifest import read_manifest
from flowkd.errors import ConfigError
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.default_flow import SIZES, default_flow
from flowkd.training.picture_size import Budget
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from flowkd.training.student_family import like, student_of
from tests.support.small_runs import training

DATA: dict[str, Any] = {"event_shape": (6,), "mean": 0.5, "scale": 2.0}
COLUMN_BY_COLUMN = AutoregressiveConfig(**DATA, depth=3, width=32)
BUDGET = Budget(minutes=1, batch_size=8)


@pytest.mark.parametrize(
    ("teacher", "same"),
    [
        (CouplingConfig(**DATA, depth=4, width=32), True),
        (CouplingConfig(**DATA, depth=4, width=32, transform="spline"), True),
        (COLUMN_BY_COLUMN, False),
        (AutoregressiveConfig(**DATA, depth=3, width=32, transform="affine"), False),
        (AutoregressiveConfig(**DATA, depth=3, width=32, decoding="jacobi"), False),
        (AutoregressiveConfig(**DATA, depth=3, width=32, classes=3), False),
        (AutoregressiveConfig(**DATA, depth=3, width=32, direction="sampling"), True),
    ],
)
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_a_student_is_of_its_share_and_samples_in_one_pass(
    teacher: FlowConfig, same: bool, share: float
) -> None:
    student = student_of(teacher, share)
    flow = build_flow(student)
    assert flow.one_pass["sample"]
    assert (student.kind == teacher.kind) == same == (like(teacher) is teacher)
    most = share * count_parameters(build_flow(teacher))
    assert 0.7 * most < count_parameters(flow) <= most
    for key in ("event_shape", "mean", "scale", "context_spec"):
        assert getattr(student, key) == getattr(teacher, key)


def test_a_share_that_leaves_no_flow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected room for at least .* of a coupling flow; got"):
        student_of(COLUMN_BY_COLUMN, 0.001)
    with pytest.raises(ValueError, match=r"a share .* above 0 and below 1; got 1"):
        student_of(COLUMN_BY_COLUMN, 1.0)


def test_a_run_and_its_plain_rival_have_the_student_of_one_pass(memory_store: Store) -> None:
    slow = {"kind": "autoregressive", "depth": 3, "width": 24, "context": "ignore"}
    list(run_in_process(training("slow", flow=slow), memory_store))
    objectives = {
        "plain": {"kind": "maximum_likelihood", "smaller_than": "runs/slow"},
        "distilled": {"kind": "distillation", "teacher": "runs/slow", "samples": {"rows": 20}},
    }
    runs = {
        name: resolve_run(training(name, flow=None, objective=objective), memory_store)
        for name, objective in objectives.items()
    }
    assert runs["plain"].flow == runs["distilled"].flow
    assert build_flow(runs["plain"].flow).one_pass == {"log_prob": True, "sample": True}
    assert "samples of kind autoregressive take more" in runs["distilled"].notes[0]
    assert "warm_start: none, because expected a student of its source's kind" in str(
        runs["distilled"].notes
    )
    steps = list(
        run_in_process(
            training("distilled", flow=None, objective=objectives["distilled"]), memory_store
        )
    )
    assert "samples" in steps[0].terms


def test_a_flow_in_memory_is_distilled_into_one_pass() -> None:
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).cumsum(1)
    teacher = flowkd.autoregressive(3, depth=2, width=16)
    brief: dict[str, Any] = {"steps": 3, "learning_rate": 0.01, "progress": False}
    flowkd.fit(teacher, x, **brief)
    student = flowkd.distill(teacher, x, share=0.5, samples=20, **brief)
    assert student.one_pass == {"log_prob": True, "sample": True}


@pytest.mark.parametrize("family", SIZES)
def test_a_family_of_a_table_grows_with_its_rows(taught_store: Store, family: Any) -> None:
    table = read_manifest(taught_store, "walks")
    sizes = []
    for rows in (40, 5_000, 20_000, 60_000):
        train = table.splits["train"].model_copy(update={"rows": rows})
        grown = table.model_copy(update={"splits": {**table.splits, "train": train}})
        flow, _ = default_flow(grown, BUDGET, family)
        sizes.append((flow.depth, flow.width))
    assert sizes == sorted(set(sizes), key=lambda size: size[1])
    assert (flow.kind == "autoregressive") == (family == "autoregressive")


def test_a_family_is_of_the_kind_of_the_data(taught_store: Store) -> None:
    table, pictures = (read_manifest(taught_store, name) for name in ("walks", "pictures"))
    with pytest.raises(ConfigError, match=r"family: expected glow for pictures, .* got coupling"):
        default_flow(pictures, BUDGET, "coupling")
    with pytest.raises(
        ConfigError, match=r"expected spline or coupling or .* a table, .* got glow"
    ):
        default_flow(table, BUDGET, "glow")


SLOW_DENSITY = {"kind": "autoregressive", "direction": "sampling", "context": "ignore"}
TEACHER = {"kind": "distillation", "teacher": "runs/teacher"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "log_prob that is not one pass": (
        {"flow": SLOW_DENSITY},
        r"flow\.direction: expected density for the term nll, .* got sampling, .*: leave",
    ),
    "teacher's samples under such": (
        {"flow": SLOW_DENSITY, "objective": {**TEACHER, "weights": {"nll": 0, "samples": 1}}},
        r"for the term samples, .* got sampling",
    ),
    "a fold into another family": (
        {"flow": {"kind": "autoregressive", "context": "ignore"},
         "objective": {**TEACHER, "warm_start": "fold"}},
        "warm_start: expected a student of its source's kind, coupling; got autoregressive",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_a_run_of_a_family_that_cannot_do_it_is_refused(
    taught_store: Store, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        resolve_run(training("refused", **changes), taught_store)
    assert "\n" not in str(refused.value)


def test_a_student_of_the_other_direction_learns_from_what_it_samples(taught_store: Store) -> None:
    objective = {**TEACHER, "warm_start": "none", "weights": {"nll": 0, "synthesis": 1}}
    run = resolve_run(training("iaf", flow=SLOW_DENSITY, objective=objective), taught_store)
    assert build_flow(run.flow).one_pass == {"log_prob": False, "sample": True}


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"kind": "coupling", "transform": "spline", "bins": 1}, "bins.* greater than or equal"),
        ({"kind": "autoregressive", "bins": 1}, "bins.* greater than or equal"),
        ({"kind": "autoregressive", "event_shape": [1]}, r"D of at least 2; got \(1,\)"),
        ({"kind": "autoregressive", "order": [0, 0]}, "order"),
    ],
)
def test_a_flow_that_cannot_be_is_refused_with_the_config(
    flow: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig.model_validate({"name": "a", "dataset": "b", "flow": flow})
