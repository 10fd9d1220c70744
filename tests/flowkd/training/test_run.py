"""Properties of a run: it resumes bitwise, keeps its best weights, and refuses what cannot fit."""

import io
import math

import pytest
import torch
import yaml

from flowkd.data.dequantize import evaluation_batches
from flowkd.data.manifest import read_manifest
from flowkd.data.reading import load_split
from flowkd.data.writing import write_dataset
from flowkd.errors import ConfigError, DataError, StoreError
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig
from flowkd.registry.artifacts import load_artifact
from flowkd.training.choices.complete_flow import complete_flow
from flowkd.training.config import ScalingConfig, TrainingConfig
from flowkd.training.logs.metrics import read_log
from flowkd.training.resolve import resolve_run
from flowkd.training.run import Run
from flowkd.training.setup import run_in_process
from tests.support.small_runs import DISTILLATION, STUDENT, prepared, training, walks


def as_checkpoint(run):
    file = io.BytesIO()
    torch.save(run.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_bitwise(one, other, path=""):
    assert type(one) is type(other), path
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_bitwise(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list):
        for position, values in enumerate(zip(one, other, strict=True)):
            assert_bitwise(*values, f"{path}.{position}")
    else:
        assert one == other, path


@pytest.mark.parametrize(
    ("objective", "context"),
    [
        ({"kind": "maximum_likelihood"}, "ignore"),
        ({"kind": "maximum_likelihood"}, None),
        (DISTILLATION, "ignore"),
    ],
)
def test_a_resumed_run_is_bitwise_that_which_never_stopped(taught_store, objective, context):
    config = training("student", objective=objective, flow={**STUDENT, "context": context})

    def steps(run, until):
        losses = []
        for result in run.steps():
            if run.is_due(config.validate_every):
                run.keep_if_best(run.validation_nats())
            losses.append((result.step, result.loss, result.terms, result.gradient_norm))
            if result.step == until:
                return losses
        return losses

    whole = prepared(config, taught_store)
    expected = steps(whole, 6)
    first = prepared(config, taught_store)
    losses = steps(first, 3)
    state = as_checkpoint(first)
    steps(first, 6)  # what happens after the checkpoint must not change it
    second = prepared(config, taught_store)
    second.load_state_dict(state)
    losses += steps(second, 6)
    assert losses == expected
    assert_bitwise(as_checkpoint(second), as_checkpoint(whole))


@torch.no_grad()
def test_the_result_has_the_weights_of_the_best_validation(taught_store, monkeypatch):
    seen = []
    keep = Run.keep_if_best
    monkeypatch.setattr(Run, "keep_if_best", lambda *a: seen.append(keep(*a)) or seen[-1])
    hasty = {
        "steps": 40,
        "learning_rate": 0.05,
        "warmup_steps": 0,
        "ema_decay": 0.0,
        "schedule": "constant",
    }
    config = training("hasty", train=hasty, train_rows=8, flow={**STUDENT, "width": 32})
    with torch.enable_grad():
        assert len(list(run_in_process(config, taught_store))) == 40
    assert len(seen) == 20
    assert min(seen) < seen[-1]

    artifact = load_artifact(taught_store, "runs/hasty")
    validation = load_split(taught_store, read_manifest(taught_store, "walks"), "val")
    nats = artifact.flow.log_prob(validation.x).double().mean().item()
    assert artifact.metrics["validation_bits_per_dim"] == min(seen)
    assert -nats / (4 * math.log(2)) == pytest.approx(min(seen), abs=1e-6)
    assert artifact.metrics["steps"] == 40
    assert artifact.config.training == config.model_dump(mode="json", exclude={"tracking"})
    assert artifact.manifest.lineage.dataset == "walks"
    assert artifact.manifest.lineage.run == "hasty"


@pytest.mark.parametrize("objective", [{"kind": "maximum_likelihood"}, DISTILLATION])
def test_a_run_writes_its_config_and_its_metrics(taught_store, objective):
    config = training("student", objective=objective, log_every=4)
    results = {result.step: result for result in run_in_process(config, taught_store)}
    known = yaml.safe_load(taught_store.read("runs", "student", "config.yaml"))
    assert TrainingConfig.model_validate(known) == config
    records = {record["step"]: record for record in read_log(taught_store, "student")}
    assert [step for step in records if "loss" in records[step]] == [4, 6]
    judged = [step for step in records if "validation_bits_per_dim" in records[step]]
    assert judged == list(records) == [2, 4, 6]
    for step in (4, 6):
        whole = {"loss": results[step].loss, **results[step].terms}
        assert whole == {key: records[step][key] for key in whole}
        assert records[step]["gradient_norm"] == results[step].gradient_norm
    best = min(record["validation_bits_per_dim"] for record in records.values())
    metrics = load_artifact(taught_store, "runs/student").metrics
    assert metrics["validation_bits_per_dim"] == best


def test_the_metrics_of_several_workers_are_the_means_over_them(taught_store):
    run = prepared(training("shared", log_every=1, validate_every=9), taught_store)
    other = [1.0, 5.0, 7.0]  # that worker, its loss and its only term
    result = next(run.steps())
    line = run.record(result, lambda ours: ours + torch.tensor(other))
    assert line["loss"] == pytest.approx((result.loss + 5) / 2)
    assert line["nll"] == pytest.approx((result.terms["nll"] + 7) / 2)
    assert line["gradient_norm"] == result.gradient_norm
    assert "validation_bits_per_dim" not in line
    assert run.record(result)["loss"] == result.loss


def test_a_student_remembers_its_teacher(taught_store):
    list(run_in_process(training("student", objective=DISTILLATION), taught_store))
    assert load_artifact(taught_store, "runs/student").manifest.lineage.teacher == "runs/teacher"
    assert load_artifact(taught_store, "runs/teacher").manifest.lineage.teacher is None


def test_workers_share_the_validation_rows(taught_store):
    config = training(
        "shared", dataset="pictures", flow={"kind": "glow", "levels": 1, "depth": 1, "width": 4}
    )
    alone = prepared(config, taught_store).validation_nats()
    shares = [
        prepared(config, taught_store, rank=rank, world=2).validation_nats() for rank in (0, 1)
    ]
    torch.testing.assert_close(sum(shares), alone)
    assert [share[1].item() for share in shares] == [10, 10]
    rows = load_split(taught_store, read_manifest(taught_store, "pictures"), "val")
    noisy = next(evaluation_batches(rows, 17, 20, config.seed)).x
    flow = prepared(config, taught_store).average.flow
    torch.testing.assert_close(alone[0].float(), flow.log_prob(noisy).sum().detach())


def test_what_a_flow_leaves_open_comes_from_the_data_set(taught_store):
    walks, pictures = (read_manifest(taught_store, name) for name in ("walks", "pictures"))
    flow = complete_flow(CouplingConfig(), walks)
    assert flow.event_shape == (4,)
    assert (list(flow.mean), list(flow.scale)) == (walks.mean, walks.scale)
    flow = complete_flow(GlowConfig(levels=2), pictures)
    assert (flow.event_shape, flow.mean, flow.scale) == ((1, 8, 8), 8.5, 17.0)
    given = CouplingConfig(mean=0.0, scale=(1.0, 2.0, 3.0, 4.0), classes=3)
    completed = complete_flow(given, walks)
    assert completed == given.model_copy(update={"event_shape": (4,)})


@pytest.mark.parametrize(
    ("config", "dataset", "message"),
    [
        (
            CouplingConfig(event_shape=(5,)),
            "walks",
            r"flow.event_shape: expected \(4,\) of data set 'walks'; got \(5,\)",
        ),
        (CouplingConfig(classes=4), "walks", "flow.classes: data set 'walks' has 3; got 4"),
        (CouplingConfig(context_size=2), "walks", "flow.context_size: .* has none; got 2"),
        (GlowConfig(classes=3), "pictures", "flow.classes: .* 'pictures' has none; got 3"),
        (GlowConfig(levels=4), "pictures", r"not fit .* 'pictures'.*levels = 16; got \(1, 8, 8\)"),
        (GlowConfig(levels=1), "walks", r"does not fit data set 'walks'.*got \(4,\)"),
        (CouplingConfig(), "pictures", r"does not fit data set 'pictures'.*got \(1, 8, 8\)"),
    ],
)
def test_a_flow_that_contradicts_its_data_set_is_refused(taught_store, config, dataset, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        complete_flow(config, read_manifest(taught_store, dataset))


def with_teacher(reference, **options):
    return {"objective": {**DISTILLATION, "teacher": reference, **options}}


NO_HINT = with_teacher("runs/teacher", hints=[{"student": "step9", "teacher": "step0"}])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dataset": "moons"}, DataError, "no dataset 'moons'.*pictures, walks.*jobs.prepare"),
        (
            with_teacher("runs/nobody"),
            StoreError,
            "no finished run 'nobody'.*finished are: teacher",
        ),
        (with_teacher("models/big@best"), StoreError, "no 'best' of model 'big'.*versions: none"),
        (with_teacher("teacher"), StoreError, "models/NAME@VERSION_OR_ALIAS.*; got 'teacher'"),
        (NO_HINT, ConfigError, "run 'new': objective: hint step9 .* student has no tap 'step9'"),
        (
            {**with_teacher("runs/teacher"), "flow": {"kind": "coupling", "depth": 2}},
            ConfigError,
            "run 'new': objective: expected a student of the teacher's context no context; got "
            r"int64 classes \(B,\) below 3: set `context: ignore` in its flow",
        ),
    ],
)
@pytest.mark.parametrize("call", [resolve_run, prepared])
def test_a_run_that_cannot_begin_says_why(taught_store, call, options, error, message):
    with pytest.raises(error, match=message):
        call(training("new", **options), taught_store)
    assert not taught_store.exists("runs", "new")


def test_a_sound_run_is_not_refused(taught_store):
    resolve_run(training("new", objective=DISTILLATION), taught_store)
    with pytest.raises(ValueError, match=r"batch_size divisible by scaling.workers = 3; got 8"):
        training("new", scaling={"workers": 3})


@pytest.mark.parametrize(
    ("objective", "context"), [({"kind": "maximum_likelihood"}, None), (DISTILLATION, "ignore")]
)
def test_a_run_that_streams_its_rows_is_one_that_keeps_them(taught_store, objective, context):
    splits = {name: walks(200, seed) for seed, name in enumerate(("train", "val", "test"))}
    write_dataset(
        taught_store, "many", splits, kind="table", source="a test", classes=3,
        mean=[10.0] * 4, scale=[3.0] * 4, shard_bytes=5 * 4 * 4,
    )  # fmt: skip
    flow = {**STUDENT, "context": context}
    config = training("student", objective=objective, flow=flow, dataset="many")
    least = 2 * 8 * 5 * (4 * 4 + 8) / 2**30  # two blocks of five rows in each of eight groups
    small = config.model_copy(update={"scaling": ScalingConfig(resident_gib=least)})
    kept, streamed = prepared(config, taught_store), prepared(small, taught_store)
    assert [r.loss for r in kept.steps()] == [r.loss for r in streamed.steps()]
    with pytest.raises(DataError, match=r"raise scaling.resident_gib"):
        prepared(
            config.model_copy(update={"scaling": ScalingConfig(resident_gib=least / 2)}),
            taught_store,
        )


@pytest.mark.parametrize("objective", [{"kind": "maximum_likelihood"}, DISTILLATION])
def test_workers_begin_alike_and_draw_apart(taught_store, objective):
    config = training("student", objective=objective, batch_size=12)
    workers = [prepared(config, taught_store, rank=rank, world=3) for rank in range(3)]
    again = prepared(config, taught_store, rank=1, world=3)
    alone = prepared(config, taught_store)
    for worker in (*workers, again):  # ActNorm included, which rows initialise
        assert_bitwise(worker.objective.flow.state_dict(), alone.objective.flow.state_dict())
    for step in (0, 5):
        batches = [worker.inputs.batches.batch(step) for worker in workers]
        whole = alone.inputs.batches.batch(step)
        assert torch.equal(torch.cat([batch.x for batch in batches]), whole.x)
        assert len(torch.unique(whole.x, dim=0)) == 12
        assert torch.equal(again.inputs.batches.batch(step).x, batches[1].x)
        if whole.z is not None:
            assert torch.equal(torch.cat([batch.z for batch in batches]), whole.z)
            assert len(torch.unique(whole.z, dim=0)) == 12
