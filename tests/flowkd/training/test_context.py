"""A flow's context: taken from the data set, in whatever units it comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import flowkd
from flowkd.data.importers.prepare import prepare
from flowkd.data.importers.table import TableConfig
from flowkd.data.manifest import read_manifest
from flowkd.errors import ConfigError, DataError
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.flows.coupling import CouplingConfig
from flowkd.predict.predictor import Predictor
from flowkd.predict.requests import SampleRequest
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.config import TrainingConfig
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from tests.support.small_runs import DISTILLATION, STUDENT, TEACHER, training

UNITS = {"0..1": (1.0, 0.0), "0..1e3": (1e3, 0.0), "0..1e6": (1e6, 0.0), "0..1e-6": (1e-6, 0.0)}
FLOW = {"kind": "coupling", "depth": 2, "width": 16}


def table(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Rows that an energy in 0..1 all but determines, and the energy."""
    rng = np.random.default_rng(0)
    energy = rng.integers(0, 2**12, rows) / 2**12  # exact in float32, in any of the units
    noise = 0.05 * rng.normal(size=(rows, 2))
    return np.stack([np.sin(6 * energy), energy**2], 1) + noise, energy


def imported(store: Store, tmp_path: Any, name: str, factor: float, offset: float) -> None:
    x, energy = table()
    path = tmp_path / f"{name}.parquet"
    columns = {"a": x[:, 0], "b": x[:, 1], "energy": energy * factor + offset}
    pq.write_table(pa.table(columns), path)
    prepare(TableConfig(source=str(path), name=name, context_columns=["energy"]), store)


def run(store: Store, name: str, dataset: str, **options: Any) -> TrainingConfig:
    values = {
        "name": name, "dataset": dataset, "flow": FLOW, "batch_size": 64, "validate_every": 20,
        "train": {"steps": 40, "learning_rate": 0.01, "warmup_steps": 4}, **options,
    }  # fmt: skip
    config = TrainingConfig.model_validate(values)
    list(run_in_process(config, store))
    return config


def bits(store: Store, name: str) -> float:
    return float(load_artifact(store, f"runs/{name}").metrics["validation_bits_per_dim"])


def test_the_likelihood_does_not_depend_on_the_units_of_the_context(memory_store, tmp_path):
    """Of a teacher, and of a student that begins folded and learns from data and samples."""
    teachers, students = {}, {}
    for number, (factor, offset) in enumerate([*UNITS.values(), (1.0, 100.0)]):
        data, teacher, student = (f"{what}{number}" for what in ("data", "teacher", "student"))
        imported(memory_store, tmp_path, data, factor, offset)
        run(memory_store, teacher, data)
        objective = {
            "kind": "distillation", "teacher": f"runs/{teacher}", "warm_start": "fold",
            "weights": {"nll": 0.5, "samples": 0.5, "latent": 0.1}, "samples": {"rows": 100},
        }  # fmt: skip
        run(memory_store, student, data, objective=objective, flow={**FLOW, "width": 8})
        teachers[number], students[number] = (bits(memory_store, n) for n in (teacher, student))
    for found in (teachers, students):
        assert list(found.values()) == pytest.approx([found[0]] * len(found), abs=2e-3)
    run(memory_store, "blind", "data0", flow={**FLOW, "context": "ignore"})
    assert teachers[0] < bits(memory_store, "blind") - 0.3


@pytest.mark.parametrize("factor", [1.0, 1e6])
def test_fit_takes_the_units_of_the_context_from_the_data(factor):
    x, energy = table()
    options: dict[str, Any] = {"steps": 40, "learning_rate": 0.01, "progress": False}
    found = []
    for scale, offset, kind in ((1.0, 0.0, np.float32), (factor, 1e9, np.float64)):
        flow = flowkd.coupling(2, depth=2, width=16, context_size=1)
        context = (energy * scale + offset).astype(kind)[:, None]
        found.append(flowkd.fit(flow, x, context, **options).best[1])
        fast = flowkd.for_inference(flow)
        given = torch.from_numpy(context)
        rows = torch.from_numpy(x).float()
        torch.testing.assert_close(
            fast.log_prob(rows, given), flow.log_prob(rows, given), atol=1e-3, rtol=1e-3
        )
        student = flowkd.distill(flow, x, context, share=0.5, samples=50, steps=5, progress=False)
        assert student.config.context_mean == flow.config.context_mean
    assert found[0] == pytest.approx(found[1], abs=2e-3)


def test_units_of_a_context_that_are_given_are_kept():
    x, energy = table()
    flow = flowkd.coupling(2, width=8, context_size=1, context_mean=5.0, context_scale=(2.0,))
    flowkd.fit(flow, x, energy[:, None], steps=2, progress=False)
    assert (flow.config.context_mean, flow.config.context_scale) == (5.0, (2.0,))
    standard = flow.encode_context(torch.tensor([[9.0]]), torch.zeros(1, 2))
    assert standard.tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (np.full((400, 1), 3.0), r"constant ones in \[0\]"),
        (
            (table()[1] + 1e6).astype(np.float32)[:, None],
            "around 1e.06 in column 0: give .* float64",
        ),
        (np.full((400, 1), np.nan), "finite context of x"),
    ],
)
def test_a_context_that_tells_nothing_is_refused(context, message):
    flow = flowkd.coupling(2, width=8, context_size=1)
    with pytest.raises(DataError, match=message):
        flowkd.fit(flow, table()[0], context, steps=2, progress=False)


def test_a_flow_takes_the_context_that_its_data_set_has(taught_store, tmp_path):
    walks = read_manifest(taught_store, "walks")
    taken = complete_flow(CouplingConfig(), walks)
    assert (taken.classes, taken.context_size) == (3, None)
    assert not complete_flow(CouplingConfig(context="ignore"), walks).context_spec.width
    imported(taught_store, tmp_path, "energies", 2.0, 5.0)
    manifest = read_manifest(taught_store, "energies")
    taken = complete_flow(CouplingConfig(), manifest)
    assert (taken.context_size, list(taken.context_mean)) == (1, manifest.context_mean)
    assert list(taken.context_scale) == manifest.context_scale
    assert complete_flow(taken, manifest) == taken
    with pytest.raises(ConfigError, match=r"has 3; got 0: leave it out.*`context: ignore`"):
        complete_flow(CouplingConfig(classes=0), walks)
    with pytest.raises(ValueError, match="expected context: ignore, or int64 classes"):
        CouplingConfig(context="ignore", classes=3)


def test_flows_of_different_contexts_do_not_teach_each_other(taught_store):
    """The remedy that a message names is one."""
    given = {"kind": "coupling", "depth": 3, "width": 8}
    list(run_in_process(training("conditional", flow=given), taught_store))
    taught = {**DISTILLATION, "teacher": "runs/conditional"}
    for objective in (taught, {**taught, "warm_start": "fold"}):
        with pytest.raises(ConfigError, match="got no context: leave out `context: ignore`"):
            resolve_run(training("student", objective=objective), taught_store)
        fits = {key: value for key, value in STUDENT.items() if key != "context"}
        assert resolve_run(training("a", objective=objective, flow=fits), taught_store)
    with pytest.raises(ConfigError, match="set `context: ignore` in its flow"):
        resolve_run(training("student", objective=DISTILLATION, flow=given), taught_store)
    assert resolve_run(training("b", objective=DISTILLATION, flow=TEACHER), taught_store)


def test_a_student_without_data_has_its_teachers_context(taught_store):
    given = {"kind": "coupling", "depth": 3, "width": 8}
    list(run_in_process(training("conditional", flow=given), taught_store))
    objective = {
        "kind": "distillation",
        "teacher": "runs/conditional",
        "weights": {"nll": 0, "samples": 1},
    }
    config = training("student", dataset="none", objective=objective, flow={"kind": "coupling"})
    assert resolve_run(config, taught_store).flow.classes == 3


def labelled(store: Store, tmp_path: Any, name: str, kinds: str) -> None:
    rng = np.random.default_rng(0)
    columns = {"a": rng.normal(size=90), "b": rng.normal(size=90), "kind": list(kinds) * 45}
    pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    source = str(tmp_path / f"{name}.parquet")
    prepare(TableConfig(source=source, name=name, label_column="kind"), store)


def test_categories_of_other_names_are_not_the_teachers(memory_store, tmp_path):
    """Class 1 is a dog here and an owl there: the same numbers, and another meaning."""
    for name, kinds in (("pets", "cd"), ("birds", "co")):
        labelled(memory_store, tmp_path, name, kinds)
    run(memory_store, "teacher", "pets")
    artifact = load_artifact(memory_store, "runs/teacher")
    assert artifact.manifest.data.class_names == ["c", "d"]
    weights = {"nll": 1, "latent": 0.1}
    objective = {"kind": "distillation", "teacher": "runs/teacher", "weights": weights}
    assert run(memory_store, "student", "pets", objective=objective)
    with pytest.raises(ConfigError, match=r"runs/teacher's class_names c, d; got c, o of data set"):
        run(memory_store, "other", "birds", objective=objective)
    judged = {"name": "e", "flows": {"a": "runs/teacher"}}
    with pytest.raises(ConfigError, match=r"flows.a: expected data of the flow's class_names c, d"):
        evaluate(EvaluationConfig(**judged, dataset="birds"), memory_store)
    imported(memory_store, tmp_path, "energies", 1.0, 0.0)
    with pytest.raises(ConfigError, match=r"context, int64 classes \(B,\) below 2; got float"):
        evaluate(EvaluationConfig(**judged, dataset="energies"), memory_store)


def test_a_run_without_data_keeps_the_facts_of_its_teachers(memory_store, tmp_path):
    labelled(memory_store, tmp_path, "pets", "cd")
    run(memory_store, "teacher", "pets")
    objective = {
        "kind": "distillation", "teacher": "runs/teacher", "weights": {"nll": 0, "samples": 1},
        "samples": {"rows": 50},
    }  # fmt: skip
    run(memory_store, "student", "none", objective=objective)
    data = load_artifact(memory_store, "runs/student").manifest.data
    assert (data.class_names, data.columns) == (["c", "d"], ["a", "b"])


def test_a_published_flow_remarks_as_a_runs_does(memory_store):
    x, energy = table()
    flow = flowkd.coupling(2, width=8, context_size=1)
    flowkd.fit(flow, x, energy[:, None], steps=2, progress=False)
    reference = flowkd.publish(flow, "energies", store=memory_store)
    predictor = Predictor.from_artifact(load_artifact(memory_store, reference))
    assert predictor.prepare_sample(SampleRequest(context=[0.5])).remarks == ()
    assert len(predictor.prepare_sample(SampleRequest(context=[50.0])).remarks) == 1
    again = flowkd.publish(flowkd.load(reference, store=memory_store), "b", store=memory_store)
    low = load_artifact(memory_store, again).manifest.data.context_minimum
    assert low is not None
    assert low[0] == pytest.approx(energy.min(), abs=0.02)
