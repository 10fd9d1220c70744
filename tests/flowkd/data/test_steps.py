"""Properties of columns of steps: noise as wide as a step wherever rows are learned or judged."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from flowkd.columns import ColumnStep
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.importers.table import TableConfig
from flowkd.data.loader import BatchLoader
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import StoredRows, load_split
from flowkd.data.rows import Examples
from flowkd.data.steps import spread, step_widths, to_grid
from flowkd.errors import ConfigError
from flowkd.evaluation.metrics import evaluate_likelihood
from flowkd.predict.predictor import Predictor
from flowkd.predict.requests import InvalidRequestError, LogProbRequest, SampleRequest
from flowkd.registry.artifacts import load_artifact
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.inputs import load_data
from flowkd.training.prepare import prepare_run
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from tests.support.small_runs import DISTILLATION, training

ROWS = 400
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(2.0, ROWS)
STEPS = [None, ColumnStep(width=1), ColumnStep(width=0.1, origin=0.05)]
FLOW = {"kind": "coupling", "depth": 2, "width": 6}


@pytest.fixture
def store(memory_store, tmp_path):
    """A store with a table of a number, a count whose logarithm is learned, and tenths."""
    path = tmp_path / "t.parquet"
    columns = {"a": RNG.normal(size=ROWS), "n": COUNTS, "t": (COUNTS**2 % 7) / 10 + 0.05}
    pq.write_table(pa.table(columns), path)
    options = {"dequantize": {"n": 1, "t": 0.1}, "transforms": {"n": "log"}}
    manifest = TableConfig(source=str(path), name="walks", **options).write(memory_store)
    assert manifest.steps == STEPS
    return memory_store


def in_cells(noisy, rows):
    """Whether noise keeps to the steps, and each column without steps is as it was."""
    above = noisy - rows
    widths = step_widths(STEPS)
    inside = (above > 0) & (noisy < rows + widths)
    return bool(torch.where(widths > 0, inside, above == 0).all())


def sorted_rows(x):
    return sorted(to_grid(x, STEPS).round(decimals=3).tolist())


def test_noise_fills_a_step_evenly_and_never_reaches_its_ends():
    x = torch.tensor([[0.0, 255.0, 1e6, 3.7]]).repeat(4000, 1)
    widths = torch.tensor([1.0, 1.0, 64.0, 0.0])
    for ends in (torch.zeros_like(x), torch.full_like(x, 1 - 2**-24)):
        made = spread(x, widths, ends)
        assert bool(((made > x) & (made < x + widths))[:, :3].all())
    made = (spread(x, widths, torch.rand(x.shape)) - x)[:, :3] / widths[:3]
    torch.testing.assert_close(made.mean(0), torch.full((3,), 0.5), atol=0.02, rtol=0)
    torch.testing.assert_close(made.var(0), torch.full((3,), 1 / 12), atol=0.005, rtol=0)


def test_a_batch_has_fresh_noise_and_its_rows_are_those_of_the_table(store):
    rows = StoredRows(store, read_manifest(store, "walks"), "train")
    known = rows.read_all()
    loader = BatchLoader(rows, batch_size=len(rows), seed=0, bins=None)
    first, second = loader.batch(0).x, loader.batch(1).x
    for epoch in (first, second):
        assert sorted_rows(epoch) == sorted_rows(known.x)
    places = [(epoch - to_grid(epoch, STEPS))[:, 1] for epoch in (first, second)]
    assert not torch.isclose(*places, rtol=0, atol=1e-6).all()
    by_row = [x[:, 1:][x[:, 0].argsort()] for x in (first, second, known.x)]
    assert not (by_row[0] == by_row[1]).any()
    assert in_cells(first[first[:, 0].argsort()], known.x[known.x[:, 0].argsort()])


def test_noise_depends_on_the_step_alone_not_on_workers_or_on_where_rows_lie(store):
    rows = StoredRows(store, read_manifest(store, "walks"), "train")
    whole = BatchLoader(rows.read_all(), batch_size=8, seed=0, bins=None).batch(3).x
    parts = [
        BatchLoader(rows, batch_size=8, seed=0, bins=None, rank=rank, world=2).batch(3).x
        for rank in range(2)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_an_evaluation_has_the_same_noise_whatever_the_size_of_its_batches(store):
    rows = load_split(store, read_manifest(store, "walks"), "val")
    whole, again, other = (
        torch.cat([batch.x for batch in evaluation_batches(rows, None, size, seed)])
        for size, seed in ((len(rows), 0), (7, 0), (7, 1))
    )
    assert in_cells(whole, rows.x)
    assert torch.equal(whole, again)
    assert not torch.equal(whole, other)


def test_rows_without_steps_stay_as_they_are():
    x = torch.randn(6, 2)
    assert torch.equal(next(evaluation_batches(Examples(x), None, 6, 0)).x, x)


def test_what_is_served_is_what_was_evaluated(store):
    """Over the flow's own seed: the likelihood of a split, of rows as the table has them."""
    list(run_in_process(training("teacher", flow=FLOW), store))
    artifact = load_artifact(store, "runs/teacher")
    rows = load_split(store, read_manifest(store, "walks"), "test")
    expected = evaluate_likelihood(artifact.flow, rows, None).nats
    predictor = Predictor.from_artifact(artifact)
    answer = predictor.log_prob(LogProbRequest(x=rows.x.numpy()))
    assert answer.log_prob.mean().item() == pytest.approx(expected, abs=1e-3)
    other = predictor.log_prob(LogProbRequest(x=rows.x.numpy(), seed=1))
    assert not torch.equal(answer.log_prob, other.log_prob)


def test_samples_are_values_that_the_table_could_have(store):
    list(run_in_process(training("teacher", flow=FLOW), store))
    predictor = Predictor.from_artifact(load_artifact(store, "runs/teacher"))
    x = predictor.sample(SampleRequest(n=200, seed=0))
    assert bool((x[:, 1] >= 0).all())
    assert torch.equal(x[:, 1], x[:, 1].round())
    tenths = (x[:, 2] - 0.05) * 10
    torch.testing.assert_close(tenths, tenths.round(), atol=1e-3, rtol=0)
    assert len(x[:, 0].unique()) == 200
    with pytest.raises(InvalidRequestError, match="too far from the model's data"):
        predictor.log_prob(LogProbRequest(x=np.array([[0.0, -3.0, 0.05]])))


def test_student_and_teacher_have_the_same_transforms(store):
    list(run_in_process(training("teacher", flow={**FLOW, "depth": 3}), store))
    learns = {**DISTILLATION, "weights": {"nll": 0.5, "samples": 0.5}, "hints": []}
    for name, dataset in (("student", "walks"), ("alone", "none")):
        weights = learns["weights"] if dataset == "walks" else {"nll": 0.0, "samples": 1.0}
        objective = {**learns, "weights": weights, "samples": {"rows": 40}}
        config = training(name, flow=FLOW, dataset=dataset, objective=objective)
        list(run_in_process(config, store))
        artifact = load_artifact(store, f"runs/{name}")
        teacher = load_artifact(store, "runs/teacher")
        for key in ("transforms", "mean", "scale"):
            assert getattr(artifact.config.flow, key) == getattr(teacher.config.flow, key), name
        assert artifact.manifest.data.steps == STEPS


def test_a_cache_keeps_several_noisy_versions_of_each_row(store):
    list(run_in_process(training("teacher", flow={**FLOW, "depth": 3}), store))
    objective = {**DISTILLATION, "cache": {"kind": "memory", "copies": 2}}
    run = resolve_run(training("student", flow=FLOW, objective=objective), store)
    batches = prepare_run(run, load_data(run, store)).inputs.batches
    kept = batches.rows.x
    first, second = kept[: len(kept) // 2], kept[len(kept) // 2 :]
    assert len(kept) == 2 * run.manifest.splits["train"].rows
    assert sorted_rows(first) == sorted_rows(second)
    assert not (first[:, 1:] == second[:, 1:]).any()
    assert batches.rows.steps is None  # else noise would be added twice


def test_transforms_that_the_data_set_knows_nothing_of_are_refused(store):
    config = training("t", flow={**FLOW, "transforms": [None, None, "log"]}).flow
    manifest = read_manifest(store, "walks")
    with pytest.raises(ConfigError, match=r"flow\.transforms: expected those of data set 'walks'"):
        complete_flow(config, manifest)
    own = config.model_copy(update={"mean": 0.0, "scale": 1.0})
    assert complete_flow(own, manifest).transforms == config.transforms
