"""Training in memory is the jobs' training: equal losses and weights for equal settings."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import flowkd
from flowkd.data.writing import write_dataset
from flowkd.errors import ConfigError, DataError
from flowkd.flows.coupling import CouplingConfig
from flowkd.store.store import Store
from flowkd.training.config import TrainingConfig
from flowkd.training.setup import run_in_process
from tests.support.small_runs import walks

TRAIN = {"steps": 12, "learning_rate": 0.01, "warmup_steps": 3, "ema_decay": 0.9}
QUICK = {**TRAIN, "batch_size": 16, "validate_every": 4, "progress": False}
X, JUDGED = (torch.from_numpy(walks(count, seed).x) for seed, count in enumerate((80, 30)))


def job(store: Store, name: str, **options: object) -> list[float]:
    """Losses of a job on the very rows, in the store."""
    flow = {"kind": "coupling", "depth": 3, "width": 8, "context": "ignore"}
    values = {
        "name": name, "dataset": "rows", "flow": flow, "train": TRAIN, "batch_size": 16,
        "validate_every": 4, **options,
    }  # fmt: skip
    return [step.loss for step in run_in_process(TrainingConfig.model_validate(values), store)]


@pytest.fixture
def store(memory_store: Store) -> Store:
    """A store with the rows as a data set of one shard."""
    splits = {"train": walks(80, 0), "val": walks(30, 1), "test": walks(5, 2)}
    x = splits["train"].x.astype(np.float64)
    write_dataset(
        memory_store, "rows", splits, kind="table", source="a test", classes=3,
        mean=x.mean(0).tolist(), scale=x.std(0).tolist(),
    )  # fmt: skip
    return memory_store


def same(flow: flowkd.Flow, other: flowkd.Flow) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in flow.state_dict().items())


def test_fit_is_the_job_of_maximum_likelihood(store):
    flow = flowkd.coupling(4, depth=3, width=8)
    history = flowkd.fit(flow, X, validation=JUDGED, **QUICK)
    assert history.losses == job(store, "teacher")
    assert same(flow, flowkd.load("runs/teacher", store=store))
    assert [step for step, _ in history.validation] == [4, 8, 12]
    assert history.best == min(history.validation, key=lambda point: point[1])


@pytest.mark.parametrize("warm_start", ["fold", "inherit", "none"])
def test_distill_is_the_job_of_distillation(store, warm_start):
    job(store, "teacher")
    teacher = flowkd.load("runs/teacher", store=store)
    weights = {"nll": 0.5, "samples": {"kind": "cosine", "start": 0.5}, "latent": 0.1}
    shape = {"kind": "coupling", "depth": 2, "width": 5, "context": "ignore"}
    objective = {
        "kind": "distillation", "teacher": "runs/teacher", "weights": weights,
        "samples": {"rows": 60}, "warm_start": warm_start,
    }  # fmt: skip
    job(store, "student", flow=shape, objective=objective)
    units = {key: getattr(teacher.config, key) for key in ("event_shape", "mean", "scale")}
    student = flowkd.distill(
        teacher, X, student=CouplingConfig(**shape, **units), warm_start=warm_start,
        weights=weights, samples=60, validation=JUDGED, **QUICK,
    )  # fmt: skip
    assert same(student, flowkd.load("runs/student", store=store))


def test_a_teacher_is_left_as_it_was_and_its_student_is_of_its_share():
    teacher = flowkd.coupling(4, depth=4, width=24)
    flowkd.fit(teacher, X, **QUICK)
    before = [value.clone() for value in teacher.parameters()]
    student = flowkd.distill(teacher, X, share=0.3, samples=50, **QUICK)
    parameters = [sum(p.numel() for p in flow.parameters()) for flow in (student, teacher)]
    assert 0.2 < parameters[0] / parameters[1] <= 0.3
    assert all(p.requires_grad for p in teacher.parameters())
    assert all(map(torch.equal, before, teacher.parameters()))


def test_by_default_a_student_begins_folded_and_learns_from_samples(monkeypatch):
    seen = {}

    def keep(run, data, *_):
        seen.update(objective=run.config.objective, source=data.source)
        raise KeyboardInterrupt

    monkeypatch.setattr("flowkd.training.in_memory.prepare_run", keep)
    teacher = flowkd.coupling(4, depth=4, width=24, mean=0.0, scale=1.0)
    with pytest.raises(KeyboardInterrupt):
        flowkd.distill(teacher, X)
    assert seen["objective"].warm_start == "fold"
    assert seen["objective"].weights.ever("samples")
    assert seen["source"] is not None


def test_going_on_with_a_flow_does_not_begin_it_again():
    flow = flowkd.coupling(4, depth=3, width=8)
    flowkd.fit(flow, X, validation=JUDGED, **QUICK)
    before = copy.deepcopy(flow)
    still = {**QUICK, "steps": 1, "learning_rate": 1e-12}
    flowkd.fit(flow, X + 0.5, validation=JUDGED, **still)  # other data: another ActNorm, if new
    for name, value in flow.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[name])


def test_pixels_are_dequantised_and_stay_pixels():
    pixels = torch.randint(0, 256, (60, 1, 4, 4), dtype=torch.uint8)
    flow = flowkd.glow((1, 4, 4), levels=1, depth=1, width=4)
    flowkd.fit(flow, pixels.numpy(), **QUICK)
    assert (flow.preprocess.mean, flow.preprocess.scale, flow.bins) == (128, 256, 256)


def test_context_is_taken_as_the_flow_wants_it():
    rows = walks(80, 0)
    flow = flowkd.coupling(4, depth=2, width=8, classes=3)
    history = flowkd.fit(flow, rows.x, rows.context.astype(np.int32), **QUICK)
    assert len(history.losses) == 12
    with pytest.raises(DataError, match=r"context of x: expected .*classes .* got none"):
        flowkd.fit(flow, rows.x, **QUICK)
    with pytest.raises(DataError, match="context of x: expected no context"):
        flowkd.fit(flowkd.coupling(4), rows.x, rows.context, **QUICK)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[:, :3], r"shape \(N, 4\) with rows; got \(80, 3\)"),
        (X[:0], r"shape \(N, 4\) with rows; got \(0, 4\)"),
        (X.long(), "floats, or uint8 for pixels; got torch.int64"),
        (torch.where(X[3, 2] == X, torch.nan, X), "finite x; got NaN or infinity in 1 rows"),
        (X * torch.tensor([1, 1, 0, 1]), r"vary in every column; got constant ones in \[2\]"),
    ],
)
def test_rows_that_are_not_the_flows_are_refused(x, message):
    with pytest.raises(DataError, match=message):
        flowkd.fit(flowkd.coupling(4, depth=2, width=4), x, **QUICK)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup": 3}, "training options: .*warmup"),
        ({"weights": {"nll": 1}}, "expected a teacher for weights and hints; got none"),
        ({"steps": 0}, "training options: .*steps"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        flowkd.fit(flowkd.coupling(4), X, **{**QUICK, **options})


def test_what_cannot_be_distilled_says_why():
    teacher = flowkd.coupling(4, depth=4, width=24, mean=0.0, scale=1.0)
    with pytest.raises(ConfigError, match=r"distill: expected a share .* above 0 and below 1"):
        flowkd.distill(teacher, X, share=2)
    with pytest.raises(ConfigError, match="distill: expected calibration data of at least"):
        flowkd.distill(teacher, X[:12], validation=JUDGED, share=0.1)
    with pytest.raises(ConfigError, match="a form for inference"):
        flowkd.distill(flowkd.for_inference(teacher), X)
    with pytest.raises(DataError, match="expected a share of 80 rows for validation"):
        flowkd.fit(teacher, X, validation=0.001)


def test_a_flow_with_a_logarithm_learns_the_logarithm_in_data_units():
    """The density is that of the logarithm itself, but for the change of units."""
    x = torch.randn(80, 2, generator=torch.Generator().manual_seed(0))
    widened = torch.stack([x[:, 0], (4 * x[:, 1]).exp()], dim=1)
    plain = flowkd.coupling(2, depth=2, width=8)
    mapped = flowkd.coupling(2, depth=2, width=8, transforms=[None, "log"])
    flowkd.fit(plain, torch.stack([x[:, 0], 4 * x[:, 1]], dim=1), **QUICK)
    flowkd.fit(mapped, widened, **QUICK)
    torch.testing.assert_close(
        mapped.log_prob(widened) + 4 * x[:, 1], plain.log_prob(x * torch.tensor([1.0, 4.0])),
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip
    assert bool((mapped.sample(50)[:, 1] > 0).all())
    assert mapped.log_prob(torch.tensor([[0.0, -1.0]])).item() == -torch.inf


def test_a_value_that_a_transform_does_not_take_is_named():
    flow = flowkd.coupling(2, depth=2, width=8, transforms=[None, "log"])
    x = torch.randn(20, 2).abs()
    x[7, 1] = -2.5
    with pytest.raises(DataError, match=r"above 0 .* in column 1, for its log; got -2\.5; 1 such"):
        flowkd.fit(flow, x, **QUICK)


def test_a_tables_columns_are_remarked_before_training():
    x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 1] = x[:, 1].round()
    x[:, 2] = 1.7e9 + 2e4 * x[:, 2]
    flow = flowkd.coupling(4, depth=1, width=4)
    with pytest.warns(UserWarning, match="means little") as caught:
        history = flowkd.fit(flow, x, steps=2, batch_size=20)
    first, second = history.remarks
    assert first.startswith("`x1` has ")
    assert "add uniform noise as wide as its steps of 1, or leave it out." in first
    assert second.startswith("`x2` has 360 distinct values, of which float32 leaves ")
    assert all(each in str(caught[0].message) for each in history.remarks)
    assert "--set" not in str(caught[0].message)


def test_columns_without_a_peculiarity_and_pixels_have_no_remark():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
    history = flowkd.fit(flowkd.coupling(3, depth=1, width=4), x, steps=2, batch_size=20)
    assert history.remarks == []
    pixels = torch.zeros(40, 1, 2, 2, dtype=torch.uint8)
    pixels[::2] = 3
    flow = flowkd.glow((1, 2, 2), levels=1, depth=1, width=4)
    assert flowkd.fit(flow, pixels, steps=2, batch_size=10).remarks == []


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (lambda x: 1e30 * x, "column 'x1': expected at most 1e.18"),
        (lambda x: 1e-25 * x, "column 'x1': a spread of .* is too small"),
        (lambda x: 1e6 + x, "column 'x1': a spread of .* is lost in float32"),
    ],
)
def test_columns_that_float32_does_not_hold_are_refused_in_memory(column, message):
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 1] = column(x[:, 1])
    with pytest.raises(DataError, match=message):
        flowkd.fit(flowkd.coupling(2, depth=1, width=4), x, steps=2, batch_size=20)
