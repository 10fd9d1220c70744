"""The families of a table's flow: by its rows, by its user's word; what none can do is refused."""

from __future__ import annotations

from typing import Any

import pytest

from flowkd.config import parse_config
from flowkd.data.manifest import read_manifest
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow
from flowkd.store.store import Store
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.choices.default_flow import SIZES, default_flow
from flowkd.training.choices.picture_size import Budget
from flowkd.training.config import TrainingConfig
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from tests.support.small_runs import training

BUDGET = Budget(minutes=1, batch_size=8)


@pytest.mark.parametrize("family", SIZES)
def test_a_family_of_a_table_grows_with_its_rows(taught_store: Store, family: Any) -> None:
    table = read_manifest(taught_store, "walks")
    widths = []
    for rows in (40, 5_000, 20_000, 60_000):
        train = table.splits["train"].model_copy(update={"rows": rows})
        grown = table.model_copy(update={"splits": {**table.splits, "train": train}})
        flow, why, _ = default_flow(grown, BUDGET, family)
        assert why == f"for {rows:,} rows"
        widths.append(flow.width)
    assert widths == sorted(set(widths))
    built = build_flow(complete_flow(flow, table))
    assert built.one_pass == {"log_prob": True, "sample": family != "autoregressive"}
    assert flow.transform == ("affine" if family == "coupling" else "spline")


def test_a_family_is_of_the_kind_of_the_data(taught_store: Store) -> None:
    table, pictures = (read_manifest(taught_store, name) for name in ("walks", "pictures"))
    with pytest.raises(ConfigError, match=r"family: expected glow for pictures, .* got coupling"):
        default_flow(pictures, BUDGET, "coupling")
    with pytest.raises(ConfigError, match=r"family: expected .* for a table, .* got glow"):
        default_flow(table, BUDGET, "glow")


def test_a_run_and_its_plain_rival_have_one_student_and_say_why_it_is_of_another_family(
    taught_store: Store,
) -> None:
    slow = {"kind": "autoregressive", "depth": 3, "width": 24, "context": "ignore"}
    list(run_in_process(training("slow", flow=slow), taught_store))
    objectives = {
        "plain": {"kind": "maximum_likelihood", "smaller_than": "runs/slow"},
        "distilled": {"kind": "distillation", "teacher": "runs/slow", "samples": {"rows": 20}},
    }
    runs = {
        name: resolve_run(training(name, flow=None, objective=objective), taught_store)
        for name, objective in objectives.items()
    }
    assert runs["plain"].flow == runs["distilled"].flow
    assert build_flow(runs["plain"].flow).one_pass == {"log_prob": True, "sample": True}
    for run in runs.values():
        assert "where flows of kind autoregressive are slow in one" in run.notes[0]
    distilled = training("distilled", flow=None, objective=objectives["distilled"])
    assert all("samples" in step.terms for step in run_in_process(distilled, taught_store))


OTHER_WAY = {"kind": "autoregressive", "direction": "sampling", "context": "ignore"}
TEACHER = {"kind": "distillation", "teacher": "runs/teacher"}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "log_prob that is not one pass": (
        {"flow": OTHER_WAY},
        r"flow\.direction: expected density for a training by nll, .* got sampling, .*: leave",
    ),
    "teacher's samples under such": (
        {"flow": OTHER_WAY, "objective": {**TEACHER, "weights": {"nll": 0, "samples": 1}}},
        r"got weights for samples, for which it encodes rows in 4 passes each",
    ),
    "a fold into another family": (
        {"flow": {"kind": "autoregressive", "context": "ignore"},
         "objective": {**TEACHER, "warm_start": "fold"}},
        r"warm_start: no closed form leads from a flow of kind coupling to one of kind auto",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_a_run_of_a_family_that_cannot_do_it_is_refused(
    taught_store: Store, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        resolve_run(training("refused", **changes), taught_store)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"kind": "coupling", "transform": "spline", "bins": 1}, r"flow\.bins.*2; got 1"),
        ({"kind": "autoregressive", "bins": 1}, r"flow\.bins.*2; got 1"),
        ({"kind": "autoregressive", "event_shape": [1]}, r"D of at least 2; got \(1,\)"),
        ({"kind": "autoregressive", "transform": "affine", "bins": 4}, "expected transform: spl"),
        (
            {"kind": "autoregressive", "order": [0, 0]},
            r"flow\.order: expected a permutation of the columns",
        ),
    ],
)
def test_a_flow_that_cannot_be_is_refused_in_a_line(flow: dict[str, Any], message: str) -> None:
    values = {"name": "a", "dataset": "b", "flow": flow}
    with pytest.raises(ConfigError, match=message) as refused:
        parse_config(TrainingConfig, values, source="run.yaml")
    assert "pydantic" not in str(refused.value)
