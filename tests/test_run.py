"""Properties of a run: it resumes bitwise, keeps its best weights, and refuses what cannot fit."""

import io
import math

import numpy as np
import pytest
import torch

from flowkd.artifacts import load_artifact
from flowkd.build import CouplingConfig, GlowConfig
from flowkd.data import Arrays, evaluation_batches, load_split, read_manifest, write_dataset
from flowkd.errors import ConfigError, DataError, StoreError
from flowkd.run import Run, check_run, prepare_run, run_in_process
from flowkd.run_config import TrainingConfig, complete_flow

STUDENT = {"kind": "coupling", "steps": 2, "width": 6}
TEACHER = {"kind": "coupling", "steps": 3, "width": 8}
DISTILLATION = {
    "kind": "distillation",
    "teacher": "runs/teacher",
    "hints": [{"student": "step0", "teacher": "step1"}],
    "weights": {"nll": 0.7, "latent": 0.1, "hints": 0.1, "synthesis": 0.1},
}


def rows(count, seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 4)).cumsum(1).astype(np.float32)
    return Arrays(x * 3 + 10, generator.integers(0, 3, count))


@pytest.fixture
def store(memory_store):
    """A store with a table of classes, pictures of 17 bins, and a finished teacher of the table."""
    splits = {name: rows(40, seed) for seed, name in enumerate(("train", "val", "test"))}
    x = splits["train"].x
    write_dataset(
        memory_store, "walks", splits, kind="table", source="a test", classes=3,
        mean=x.mean(0), scale=x.std(0),
    )  # fmt: skip
    pictures = Arrays(np.random.default_rng(0).integers(0, 17, (20, 1, 8, 8)).astype(np.uint8))
    write_dataset(
        memory_store, "pictures", dict.fromkeys(("train", "val", "test"), pictures),
        kind="image", source="a test", bins=17,
    )  # fmt: skip
    list(run_in_process(training("teacher", flow=TEACHER), memory_store))
    return memory_store


def training(name, **options):
    values = {
        "name": name,
        "dataset": "walks",
        "flow": STUDENT,
        "train": {"steps": 6, "learning_rate": 0.01, "warmup": 2, "ema": 0.9},
        "batch_size": 8,
        "validate_every": 2,
    }
    return TrainingConfig.model_validate({**values, **options})


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
    ("objective", "classes"),
    [
        ({"kind": "maximum_likelihood"}, None),
        ({"kind": "maximum_likelihood"}, 3),
        (DISTILLATION, None),
    ],
)
def test_a_resumed_run_is_bitwise_that_which_never_stopped(store, objective, classes):
    config = training("student", objective=objective, flow={**STUDENT, "classes": classes})

    def steps(run, until):
        losses = []
        for result in run.steps():
            if run.is_due(config.validate_every):
                run.keep_if_best(run.validation_nats())
            losses.append((result.step, result.loss, result.terms, result.gradient_norm))
            if result.step == until:
                return losses
        return losses

    whole = prepare_run(config, store)
    expected = steps(whole, 6)
    first = prepare_run(config, store)
    losses = steps(first, 3)
    state = as_checkpoint(first)
    steps(first, 6)  # what happens after the checkpoint must not change it
    second = prepare_run(config, store)
    second.load_state_dict(state)
    losses += steps(second, 6)
    assert losses == expected
    assert_bitwise(as_checkpoint(second), as_checkpoint(whole))


@torch.no_grad()
def test_the_result_has_the_weights_of_the_best_validation(store, monkeypatch):
    seen = []
    keep = Run.keep_if_best
    monkeypatch.setattr(Run, "keep_if_best", lambda *a: seen.append(keep(*a)) or seen[-1])
    hasty = {"steps": 40, "learning_rate": 0.05, "warmup": 0, "ema": 0.0, "schedule": "constant"}
    config = training("hasty", train=hasty, train_rows=8, flow={**STUDENT, "width": 32})
    with torch.enable_grad():
        assert len(list(run_in_process(config, store))) == 40
    assert len(seen) == 20
    assert min(seen) < seen[-1]

    artifact = load_artifact(store, "runs/hasty")
    validation = load_split(store, read_manifest(store, "walks"), "val")
    nats = artifact.flow.log_prob(validation.x).double().mean().item()
    assert artifact.metrics["validation_bits_per_dim"] == min(seen)
    assert -nats / (4 * math.log(2)) == pytest.approx(min(seen), abs=1e-6)
    assert artifact.metrics["steps"] == 40
    assert artifact.config.training == config.model_dump(mode="json")
    assert artifact.manifest.lineage.dataset == "walks"
    assert artifact.manifest.lineage.run == "hasty"


def test_a_student_remembers_its_teacher(store):
    list(run_in_process(training("student", objective=DISTILLATION), store))
    assert load_artifact(store, "runs/student").manifest.lineage.teacher == "runs/teacher"
    assert load_artifact(store, "runs/teacher").manifest.lineage.teacher is None


def test_workers_share_the_validation_rows(store):
    config = training(
        "shared", dataset="pictures", flow={"kind": "glow", "levels": 1, "steps": 1, "width": 4}
    )
    alone = prepare_run(config, store).validation_nats()
    shares = [prepare_run(config, store, rank=rank, world=2).validation_nats() for rank in (0, 1)]
    torch.testing.assert_close(sum(shares), alone)
    assert [share[1].item() for share in shares] == [10, 10]
    rows = load_split(store, read_manifest(store, "pictures"), "val")
    noisy = next(evaluation_batches(rows, 17, 20, config.seed)).x
    flow = prepare_run(config, store).average.flow
    torch.testing.assert_close(alone[0].float(), flow.log_prob(noisy).sum().detach())


def test_what_a_flow_leaves_open_comes_from_the_data_set(store):
    walks, pictures = (read_manifest(store, name) for name in ("walks", "pictures"))
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
def test_a_flow_that_contradicts_its_data_set_is_refused(store, config, dataset, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        complete_flow(config, read_manifest(store, dataset))


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
            {**with_teacher("runs/teacher"), "flow": {**STUDENT, "classes": 3}},
            ConfigError,
            "run 'new': objective: expected a student of the teacher's context no context",
        ),
    ],
)
@pytest.mark.parametrize("call", [check_run, prepare_run])
def test_a_run_that_cannot_begin_says_why(store, call, options, error, message):
    with pytest.raises(error, match=message):
        call(training("new", **options), store)
    assert not store.exists("runs", "new")


def test_a_sound_run_is_not_refused(store):
    check_run(training("new", objective=DISTILLATION), store)
    with pytest.raises(ValueError, match=r"batch_size divisible by scaling.workers = 3; got 8"):
        training("new", scaling={"workers": 3})


FROM_SAMPLES = {
    "kind": "distillation",
    "teacher": "runs/teacher",
    "samples": {"rows": 300},
    "weights": {"nll": 0.5, "samples": 0.5, "density": 0.1, "latent": 0.1},
}
WITHOUT_DATA = {**FROM_SAMPLES, "weights": {"nll": 0, "samples": 1, "synthesis": 0.1}}


def last(run):
    (*_, result) = run.steps()
    return result


@pytest.mark.parametrize("samples", [{"rows": 300}, {"rows": None}, {"rows": 50, "batch_size": 4}])
def test_samples_are_learnt_from_beside_the_data(store, samples):
    objective = {**FROM_SAMPLES, "samples": samples}
    run = prepare_run(training("student", objective=objective), store)
    batch = run.material.batches.batch(0)
    size = samples.get("batch_size", 8)
    assert (len(batch), batch.samples) == (8 + size, size)
    data = prepare_run(training("data", objective=DISTILLATION), store).material.batches.batch(0)
    assert torch.equal(batch.x[:8], data.x)
    assert set(last(run).terms) == {"nll", "samples", "density", "latent"}
    list(run_in_process(training("student", objective=objective), store))
    assert load_artifact(store, "runs/student").metrics["samples_dropped"] == 0


@pytest.mark.parametrize("rows", [300, None])
def test_a_student_may_learn_without_any_data(store, rows):
    objective = {**WITHOUT_DATA, "samples": {"rows": rows}}
    if rows is None:
        objective["weights"] = {"nll": 0, "samples": 1}
    options = {"dataset": "none", "validation_rows": 400}
    longer = {"steps": 60, "learning_rate": 0.01, "warmup": 2, "ema": 0.9}
    config = training("student", objective=objective, train=longer, **options)
    check_run(config, store)
    start = prepare_run(config, store)
    before = start.keep_if_best(start.validation_nats())
    list(run_in_process(config, store))
    artifact = load_artifact(store, "runs/student")
    teacher = load_artifact(store, "runs/teacher")
    assert artifact.manifest.lineage.dataset == "none"
    assert artifact.config.flow.mean == teacher.config.flow.mean
    assert artifact.metrics["validation_bits_per_dim"] < before - 0.02
    judged = start.material.validation
    assert teacher.flow(judged.x).z.std().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_cache_changes_nothing_but_the_time(store, kind):
    """Continuous data carry no noise: the cached answers are those of every step."""
    losses = []
    for cache in ({"kind": "none"}, {"kind": kind}):
        objective = {**DISTILLATION, "cache": cache}
        run = prepare_run(training("student", objective=objective), store)
        assert bool(run.material.batches.batch(0).answers) == (cache["kind"] != "none")
        losses.append([result.loss for result in run.steps()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_cache_keeps_so_many_noisy_copies(store):
    glow = {"kind": "glow", "levels": 1, "steps": 1, "width": 4}
    list(run_in_process(training("painter", dataset="pictures", flow=glow), store))
    objective = {
        "kind": "distillation",
        "teacher": "runs/painter",
        "weights": {"latent": 1},
        "cache": {"kind": "memory", "copies": 3},
    }
    config = training("student", dataset="pictures", flow=glow, objective=objective)
    run = prepare_run(config, store)
    x = torch.cat([run.material.batches.batch(step).x for step in range(8)])[:60]
    assert len(torch.unique(x, dim=0)) == 60  # 20 pictures, each with three noises, in one epoch
    assert len(torch.unique(x.floor(), dim=0)) == 20
    list(run.steps())


def test_the_limit_of_a_cache_is_for_data_and_samples_together(store):
    def config(gib):
        cache = {"kind": "memory", "limit_gib": gib}
        return training("student", objective={**FROM_SAMPLES, "cache": cache})

    # 40 rows of data and 300 samples, 4 values of x, 4 of z and 1 log_prob each.
    needed = 340 * 9 * 4 / 2**30
    prepare_run(config(1.01 * needed), store)
    with pytest.raises(ConfigError, match=r"objective\.cache: .* for 340 rows and 0 hints"):
        prepare_run(config(0.99 * needed), store)


def test_a_student_may_begin_from_another_flow_than_its_teacher(store):
    between = {"kind": "coupling", "steps": 3, "width": 7}
    fold = {"kind": "distillation", "teacher": "runs/teacher", "warm_start": "fold"}
    list(run_in_process(training("between", flow=between, objective=fold), store))
    starts = [
        prepare_run(training("new", objective={**fold, "warm_from": source}), store)
        for source in (None, "runs/teacher", "runs/between")
    ]
    bits = [run.keep_if_best(run.validation_nats()) for run in starts]
    assert bits[0] == bits[1] != bits[2]
    for run in starts:
        assert run.objective.teacher.chain["step0.coupling"].conditioner.middle.out_features == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "none"}, "expected a data set to train on; got dataset: none"),
        (
            {"dataset": "none", "objective": FROM_SAMPLES},
            "dataset: none: expected objective.weights with nll: 0",
        ),
        (
            {"objective": {**FROM_SAMPLES, "samples": {"rows": None}, "cache": {"kind": "disk"}}},
            "expected cache.kind: none for samples drawn at every step; got disk",
        ),
        (
            {"objective": {**DISTILLATION, "warm_from": "runs/teacher"}},
            "expected a warm_start to begin from warm_from",
        ),
        (
            {
                "objective": {**FROM_SAMPLES, "samples": {"batch_size": 3}},
                "scaling": {"workers": 2},
            },
            "samples.batch_size divisible by scaling.workers = 2; got 3",
        ),
    ],
)
def test_lessons_that_cannot_be_given_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training("new", **options)
