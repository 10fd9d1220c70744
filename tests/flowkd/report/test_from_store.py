"""The report of a comparison is made of what the store holds, for tables and for pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.errors import StoreError
from flowkd.evaluation.compare import evaluate
from flowkd.evaluation.config import EvaluationConfig
from flowkd.registry.artifacts import load_artifact
from flowkd.report.drawn import samples_of
from flowkd.report.from_store import comparison_report, read_comparison
from flowkd.report.page import render
from flowkd.store.store import Store
from flowkd.training.setup import run_in_process
from tests.support.pages import Page, assert_stands_alone
from tests.support.small_runs import DISTILLATION, TEACHER, training

ROLES = ("teacher", "plain", "distilled")


@pytest.fixture
def compared(taught_store: Store) -> Store:
    """A store with a comparison of flows of a table."""
    list(run_in_process(training("plain"), taught_store))
    list(run_in_process(training("distilled", objective=DISTILLATION), taught_store))
    flows = {role: f"runs/{role}" for role in ROLES}
    config = EvaluationConfig(name="e", flows=flows, dataset="walks", seconds=0.02)
    evaluate(config, taught_store)
    return taught_store


def test_a_table_is_reported_from_its_name_alone(compared: Store) -> None:
    report = comparison_report(read_comparison(compared, "e"), compared)
    assert set(report.figures) == set(report.curves) == set(report.configs) == set(ROLES)
    assert all(report.curves.values())
    assert report.table is not None
    rows = load_split(compared, read_manifest(compared, "walks"), "test")
    assert np.array_equal(report.table.data, rows.x.numpy())
    page = assert_stands_alone(render(report))
    spoken = page.attributes("aria-label")
    assert sum(label.startswith("Pair plot") for label in spoken) == 1 + len(ROLES)
    assert sum(label.startswith("Histograms of x") for label in spoken) == rows.x.shape[1]


def test_samples_of_all_flows_come_from_the_same_latents(compared: Store) -> None:
    flow = load_artifact(compared, "runs/teacher").flow
    rows = load_split(compared, read_manifest(compared, "walks"), "test")
    drawn = samples_of({"a": flow, "b": flow}, rows)
    assert torch.equal(drawn["a"], drawn["b"])
    student = load_artifact(compared, "runs/plain").flow
    ours = samples_of({"teacher": flow, "plain": student}, rows)
    encoded = [f(ours[label]).z for label, f in (("teacher", flow), ("plain", student))]
    assert torch.allclose(encoded[0], encoded[1], atol=1e-3)


def test_a_conditional_flow_draws_for_the_context_of_each_row(taught_store: Store) -> None:
    own = {key: value for key, value in TEACHER.items() if key != "context"}
    list(run_in_process(training("given", flow=own), taught_store))
    flow = load_artifact(taught_store, "runs/given").flow
    assert flow.context.classes == 3
    rows = load_split(taught_store, read_manifest(taught_store, "walks"), "test")
    drawn = samples_of({"given": flow}, rows)["given"]
    assert rows.context is not None
    other = samples_of({"given": flow}, replace(rows, context=(rows.context + 1) % 3))["given"]
    assert not torch.equal(drawn, other)


def test_pictures_are_reported(taught_store: Store) -> None:
    glow = {"kind": "glow", "levels": 1, "depth": 1, "width": 4}
    brief = {"train": {"steps": 2, "learning_rate": 1e-3}, "dataset": "pictures"}
    list(run_in_process(training("small", flow=glow, **brief), taught_store))
    config = EvaluationConfig(
        name="p", flows={"small": "runs/small"}, dataset="pictures", seconds=0.02
    )
    evaluate(config, taught_store)
    report = comparison_report(config, taught_store)
    assert report.table is None
    held_out, *samples = report.pictures.samples.values()
    rows = load_split(taught_store, read_manifest(taught_store, "pictures"), "test").x.numpy()
    assert np.array_equal(held_out, np.rint(rows * (255 / 16)))
    assert all(each.shape == held_out.shape for each in samples)
    assert list(report.likelihoods["small"]) == ["train", "test", "noise"]
    page = Page(render(report))
    assert "samples of small" in page.text
    assert any("Bits per dimension under small" in said for said in page.attributes("aria-label"))


def test_a_comparison_that_is_not_there_is_answered_with_those_there_are(compared: Store) -> None:
    with pytest.raises(StoreError, match=r"no comparison 'x' in .*; there are e:"):
        read_comparison(compared, "x")
