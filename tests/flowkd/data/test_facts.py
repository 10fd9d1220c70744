"""Properties of what data are called: an import's names and units stay with a flow to the end."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import flowkd
from flowkd.data.importers.table import TableConfig
from flowkd.registry.artifacts import load_artifact
from flowkd.registry.pins import pin_artifact
from flowkd.registry.publish import PublishConfig, publish_run
from flowkd.training.setup import run_in_process
from tests.support.small_runs import DISTILLATION, training

COLUMNS = ["ra", "n [/cm3]", "t"]


@pytest.fixture
def store(memory_store, tmp_path):
    """A store with a table of three columns and a context, and a model of it."""
    values = np.random.default_rng(0).normal(size=(60, 4))
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table(dict(zip([*COLUMNS, "energy"], values.T, strict=True))), path)
    TableConfig(
        source=str(path),
        name="walks",
        context_columns=["energy"],
        units={"ra": "deg", "energy": "keV"},
    ).write(memory_store)
    flow = {"kind": "coupling", "depth": 3, "width": 4, "context_size": 1}
    list(run_in_process(training("teacher", flow=flow), memory_store))
    return memory_store


def test_names_and_units_go_from_the_table_into_every_later_artifact(store):
    publish_run(PublishConfig(model="stars", source="runs/teacher", force=True), store)
    artifact = load_artifact(store, "models/stars@best")
    assert artifact.columns == COLUMNS
    assert artifact.manifest.data.units == {"ra": "deg", "energy": "keV"}
    assert artifact.manifest.data.context_columns == ["energy"]
    card = store.read("models", "stars", artifact.version, "README.md").decode()
    assert "- columns: ra [deg], n [/cm3], t\n- context: energy [keV]" in card
    assert pin_artifact(store, "models/stars@best").data == artifact.manifest.data


def test_a_flow_without_context_does_not_name_one(store):
    flow = {"kind": "coupling", "depth": 1, "width": 4, "context": "ignore"}
    list(run_in_process(training("plain", flow=flow), store))
    data = load_artifact(store, "runs/plain").manifest.data
    assert (data.columns, data.context_columns) == (COLUMNS, None)


def test_names_pass_from_a_teacher_alone_to_its_student(store):
    weights = {"nll": 0.0, "samples": 1.0}
    learns = {**DISTILLATION, "hints": [], "weights": weights, "samples": {"rows": 40}}
    unconditional = {"kind": "coupling", "depth": 3, "width": 4, "context": "ignore"}
    list(run_in_process(training("big", flow=unconditional), store))
    student = training("student", dataset="none", objective={**learns, "teacher": "runs/big"})
    list(run_in_process(student, store))
    assert load_artifact(store, "runs/student").columns == COLUMNS


def test_a_loaded_flow_that_is_distilled_and_published_keeps_its_columns(store):
    flow = {"kind": "coupling", "depth": 3, "width": 4, "context": "ignore"}
    list(run_in_process(training("big", flow=flow), store))
    teacher = flowkd.load("runs/big", store=store)
    small = flowkd.distill(
        teacher, torch.randn(40, 3), share=0.5, steps=1, batch_size=8, samples=8, progress=False
    )
    reference = flowkd.publish(small, "small", store=store)
    assert load_artifact(store, reference).columns == COLUMNS
    assert flowkd.for_inference(small).columns == COLUMNS
