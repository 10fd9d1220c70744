"""What a student learns from and begins as: teacher samples, cached targets, no data, a fold."""

from collections import Counter

import pytest
import torch

from flowkd.data.writing import write_dataset
from flowkd.errors import ConfigError
from flowkd.registry.artifacts import load_artifact
from flowkd.store.store import Store
from flowkd.training.resolve import resolve_run
from flowkd.training.setup import run_in_process
from tests.support.small_flows import with_infinite_samples
from tests.support.small_runs import DISTILLATION, STUDENT, TEACHER, prepared, training, walks

FROM_SAMPLES = {
    "kind": "distillation",
    "teacher": "runs/teacher",
    "warm_start": "none",
    "samples": {"rows": 300},
    "weights": {"nll": 0.5, "samples": 0.5, "density": 0.1, "latent": 0.1},
}
WITHOUT_DATA = {**FROM_SAMPLES, "weights": {"nll": 0, "samples": 1, "synthesis": 0.1}}


class CountingStore(Store):
    """Counts how often each object is read."""

    def __init__(self, uri):
        super().__init__(uri)
        self.reads = Counter()

    def read(self, *parts):
        self.reads["/".join(parts)] += 1
        return super().read(*parts)


@pytest.mark.parametrize("objective", ["maximum_likelihood", "distillation", "cached", "fresh"])
@pytest.mark.parametrize("rank", [0, 1])
def test_preparing_a_worker_reads_each_shard_once(taught_store, objective, rank):
    splits = {name: walks(160, seed) for seed, name in enumerate(("train", "val", "test"))}
    write_dataset(
        taught_store, "many", splits, kind="table", source="a test", classes=3,
        mean=[10.0] * 4, scale=[3.0] * 4, shard_bytes=10 * 4 * 4,
    )  # fmt: skip
    wide = {"dataset": "many", "batch_size": 16}
    list(
        run_in_process(
            training("wide", flow={**TEACHER, "context": None, "classes": 3}, **wide), taught_store
        )
    )
    changes = {"cached": {"cache": {"kind": "memory"}}, "fresh": {"samples": {"rows": None}}}
    learns = {**FROM_SAMPLES, "teacher": "runs/wide", **changes.get(objective, {})}
    if objective == "maximum_likelihood":
        learns = {"kind": "maximum_likelihood"}
    flow = {**STUDENT, "context": None, "classes": 3}
    store = CountingStore(taught_store.uri)
    run = prepared(training("student", objective=learns, flow=flow, **wide), store, rank, 2)
    shards = {name: count for name, count in store.reads.items() if "train-" in name}
    assert set(shards.values()) == {1}
    assert len(shards) == 16 if learns["kind"] == "distillation" else len(shards) >= 8
    assert run.inputs.batches.batch(0).x.isfinite().all()
    store.reads.clear()
    run.inputs.batches.batch(1)
    assert not any("train-" in name for name in store.reads)


def last(run):
    (*_, result) = run.steps()
    return result


@pytest.mark.parametrize("samples", [{"rows": 300}, {"rows": None}, {"rows": 50, "batch_size": 4}])
def test_samples_are_learnt_from_beside_the_data(taught_store, samples):
    objective = {**FROM_SAMPLES, "samples": samples}
    run = prepared(training("student", objective=objective), taught_store)
    batch = run.inputs.batches.batch(0)
    size = samples.get("batch_size", 8)
    assert (len(batch), batch.samples) == (8 + size, size)
    data = prepared(training("data", objective=DISTILLATION), taught_store).inputs.batches.batch(0)
    assert torch.equal(batch.x[:8], data.x)
    assert set(last(run).terms) == {"nll", "samples", "density", "latent"}
    list(run_in_process(training("student", objective=objective), taught_store))
    assert load_artifact(taught_store, "runs/student").metrics["samples_dropped"] == 0


def dropping(store, steps, state=None, share=(0, 1)):
    """A run, after some steps, of a teacher one in three of whose samples is infinite."""
    objective = {**FROM_SAMPLES, "samples": {"rows": None}}
    rank, world = share
    run = prepared(training("student", objective=objective), store, rank=rank, world=world)
    with_infinite_samples(run.inputs.fresh.teacher, above=0.5)
    if state is not None:
        run.load_state_dict(state)
    for result in run.steps():
        if result.step == steps:
            break
    run.count_dropped()
    return run


def test_samples_dropped_before_a_checkpoint_still_count_after_it(taught_store):
    whole = dropping(taught_store, 6).dropped
    half = dropping(taught_store, 3)
    assert 0 < half.dropped < whole
    assert dropping(taught_store, 6, half.state_dict()).dropped == whole


def test_samples_dropped_by_any_worker_count_once(taught_store):
    shares = [dropping(taught_store, 6, share=(rank, 2)).dropped for rank in (0, 1)]
    assert all(shares)
    assert sum(shares) == dropping(taught_store, 6).dropped
    run = prepared(training("new", objective=FROM_SAMPLES), taught_store)
    run.count_dropped(lambda _: pytest.fail("no fresh samples: nothing to add up"))


@pytest.mark.parametrize("rows", [300, None])
def test_a_student_may_learn_without_any_data(taught_store, rows):
    objective = {**WITHOUT_DATA, "samples": {"rows": rows}}
    if rows is None:
        objective["weights"] = {"nll": 0, "samples": 1}
    options = {"dataset": "none", "validation_rows": 400}
    longer = {"steps": 60, "learning_rate": 0.01, "warmup_steps": 2, "ema_decay": 0.9}
    config = training("student", objective=objective, train=longer, **options)
    resolve_run(config, taught_store)
    start = prepared(config, taught_store)
    before = start.keep_if_best(start.validation_nats())
    list(run_in_process(config, taught_store))
    artifact = load_artifact(taught_store, "runs/student")
    teacher = load_artifact(taught_store, "runs/teacher")
    assert artifact.manifest.lineage.dataset == "none"
    assert artifact.config.flow.mean == teacher.config.flow.mean
    assert artifact.metrics["validation_bits_per_dim"] < before - 0.02
    judged = start.inputs.validation
    assert teacher.flow(judged.x).z.std().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("kind", ["memory", "disk"])
def test_a_cache_changes_nothing_but_the_time(taught_store, kind):
    """Continuous data carry no noise: the cached targets are those of every step."""
    losses = []
    for cache in ({"kind": "none"}, {"kind": kind}):
        objective = {**DISTILLATION, "cache": cache}
        run = prepared(training("student", objective=objective), taught_store)
        assert bool(run.inputs.batches.batch(0).targets) == (cache["kind"] != "none")
        losses.append([result.loss for result in run.steps()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_cache_keeps_so_many_noisy_copies(taught_store):
    glow = {"kind": "glow", "levels": 1, "depth": 1, "width": 4}
    list(run_in_process(training("painter", dataset="pictures", flow=glow), taught_store))
    objective = {
        "kind": "distillation",
        "teacher": "runs/painter",
        "weights": {"latent": 1},
        "cache": {"kind": "memory", "copies": 3},
    }
    config = training("student", dataset="pictures", flow=glow, objective=objective)
    run = prepared(config, taught_store)
    x = torch.cat([run.inputs.batches.batch(step).x for step in range(7)])
    assert len(torch.unique(x, dim=0)) == 56  # of 20 pictures, each with three noises, one epoch
    assert len(torch.unique(x.floor(), dim=0)) == 20
    list(run.steps())


def test_the_limit_of_a_cache_is_for_data_and_samples_together(taught_store):
    def config(gib):
        cache = {"kind": "memory", "limit_gib": gib}
        return training("student", objective={**FROM_SAMPLES, "cache": cache})

    # 40 rows of data and 300 samples, 4 values of x, 4 of z and 1 log_prob each.
    needed = 340 * 9 * 4 / 2**30
    prepared(config(1.01 * needed), taught_store)
    with pytest.raises(ConfigError, match=r"objective\.cache: .* for 340 rows and 0 hints"):
        prepared(config(0.99 * needed), taught_store)


def test_a_student_may_begin_from_another_flow_than_its_teacher(taught_store):
    between = {"kind": "coupling", "depth": 3, "width": 7, "context": "ignore"}
    fold = {"kind": "distillation", "teacher": "runs/teacher", "warm_start": "fold"}
    list(run_in_process(training("between", flow=between, objective=fold), taught_store))
    starts = [
        prepared(training("new", objective={**fold, "warm_from": source}), taught_store)
        for source in (None, "runs/teacher", "runs/between")
    ]
    bits = [run.keep_if_best(run.validation_nats()) for run in starts]
    assert bits[0] == bits[1] != bits[2]
    for run in starts:
        assert run.objective.teacher.chain["step0.coupling"].conditioner.middle.out_features == 8


@pytest.mark.parametrize("call", [resolve_run, prepared])
@pytest.mark.parametrize(
    "rows",
    [
        lambda count: {"train_rows": count},
        lambda count: {"dataset": "none", "samples": {"rows": count}},
    ],
)
def test_too_few_rows_to_fold_a_teacher_on_are_refused(taught_store, rows, call):
    """Calibration data of 2048 rows that are 9 over and over do not count as more."""

    def folding(count):
        options = rows(count)
        samples = options.pop("samples", {})
        fold = {**WITHOUT_DATA, "samples": samples, "warm_start": "fold"}
        return training("new", objective=fold, **options)

    call(folding(10), taught_store)
    message = r"run 'new': warm_start: .* at least 10 different rows, to fold depth .*; got 9: give"
    with pytest.raises(ConfigError, match=message):
        call(folding(9), taught_store)


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
