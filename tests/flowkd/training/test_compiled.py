"""Compiled trainings: whole graphs, the losses of ordinary ones, and a flow left as it was."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

from flowkd.data.batch import Batch
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.schedules import Cosine, LossWeights
from flowkd.errors import ConfigError
from flowkd.flows.precision import FoundPrecision
from flowkd.training.choices import precision
from flowkd.training.choices.precision import measure_precision, with_precision
from flowkd.training.inputs import Worker
from flowkd.training.loop import make_optimizer, train
from flowkd.training.resolve import resolve_run
from flowkd.training.train_config import TrainConfig
from tests.flowkd.training.test_memory import Batches, taught
from tests.support.small_flows import CONFIGS, small_flow
from tests.support.small_runs import training

EVERY_TERM = ("nll", "samples", "density", "latent", "hints", "log_det", "synthesis")


@pytest.fixture(autouse=True)
def _cheap_compiler(monkeypatch):
    """Graphs and gradients are traced as ever; what runs them is torch, built in no time."""
    monkeypatch.setattr("flowkd.training.compiled.BACKEND", "aot_eager")
    torch._dynamo.reset()
    counters.clear()


@pytest.mark.parametrize("name", ["glow of classes", "coupling, transformed"])
def test_every_term_is_one_graph(name):
    objective = taught(name)
    objective.flow.precision = "bf16"
    for flow in (objective.flow, objective.teacher):
        assert flow.taps
    whole = torch.compile(objective.terms, backend="eager", fullgraph=True)
    batch = Batches(objective.flow).batch(0)
    made, expected = whole(batch, EVERY_TERM), objective.terms(batch, EVERY_TERM)
    assert list(made) == list(expected)
    for term, value in expected.items():
        torch.testing.assert_close(made[term], value)


class Ragged(Batches):
    """Batches of which the third has rows missing."""

    def batch(self, step):
        whole = super().batch(step)
        if step != 2:
            return whole
        context = None if whole.context is None else whole.context[2:]
        return Batch(whole.x[2:], context, whole.z[2:], whole.samples)


def small_objective():
    student, teacher = (small_flow("coupling of classes", seed, torch.float32) for seed in (0, 1))
    return Distillation(student, teacher, weights=LossWeights(nll=1.0, samples=Cosine(start=1.0)))


def losses(objective, wrap=lambda module: module, **options):
    config = TrainConfig(steps=5, learning_rate=0.003, warmup_steps=0, **options)
    optimizer = make_optimizer(objective.flow, config)
    steps = train(wrap(objective), Ragged(objective.flow), optimizer, config)
    return [result.loss for result in steps]


def test_a_compiled_training_is_the_ordinary_one_also_where_a_batch_is_smaller():
    objective = small_objective()
    ordinary = losses(copy.deepcopy(objective))
    before = vars(objective).keys()
    assert losses(objective, compile=True) == pytest.approx(ordinary, rel=1e-5)
    # Neither a schedule nor a smaller batch is a graph of its own; when a term ends, that is.
    assert counters["stats"]["unique_graphs"] == 1
    assert vars(objective).keys() == before
    assert len(set(ordinary)) == 5


def test_workers_compile_what_each_computes(tmp_path):
    objective = small_objective()
    ordinary = losses(copy.deepcopy(objective))
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        made = losses(objective, DistributedDataParallel, compile=True)
    finally:
        dist.destroy_process_group()
    assert made == pytest.approx(ordinary, rel=1e-5)
    assert counters["stats"]["unique_graphs"] == 1


def test_classes_that_there_are_not_are_refused_as_ever():
    objective = small_objective()
    rows = Ragged(objective.flow)
    wrong = rows.batch(0)
    wrong.context[0] = 7
    rows.batch = lambda step: wrong
    config = TrainConfig(steps=2, learning_rate=0.003, compile=True)
    with pytest.raises(ValueError, match=r"classes .* below 3; got 0\.\.7"):
        next(train(objective, rows, make_optimizer(objective.flow, config), config))


def test_a_training_that_is_left_leaves_the_flow_as_it_was():
    objective = small_objective()
    flow = objective.flow
    flow.precision = "bf16"
    config = TrainConfig(steps=5, learning_rate=0.003, memory="reversible")
    steps = train(objective, Batches(flow), make_optimizer(flow, config), config)
    next(steps)
    assert (flow.reversible, flow.precision) == (True, "float32")
    steps.close()
    assert (flow.reversible, flow.precision) == (False, "bf16")


def test_a_measured_step_is_compiled_where_the_run_wins_back_what_that_takes():
    config = CONFIGS["coupling of classes"]
    found = measure_precision(config, 8, given="float32", steps=10**9)
    times = found.milliseconds
    assert list(times) == ["float32", "float32, compiled"]
    assert found.trouble is None
    assert not measure_precision(config, 8, given="float32", steps=0).compiled


def test_what_cannot_be_compiled_is_told_and_not_compiled(monkeypatch):
    monkeypatch.setattr("flowkd.training.compiled.BACKEND", "no such compiler")
    found = measure_precision(CONFIGS["coupling of classes"], 8, given="float32", steps=10**9)
    assert not found.compiled
    assert "no such compiler" in str(found)


def test_auto_measures_on_a_gpu_alone(taught_store, monkeypatch):
    asked = []

    def found(config, rows, device, given, steps):
        asked.append((rows, device, given, steps))
        return FoundPrecision(
            precision="float32", compiled=True, milliseconds={}, machine="a GPU", seconds=1
        )

    monkeypatch.setattr(precision, "measure_precision", found)
    monkeypatch.setattr(precision, "machine_name", lambda _: "a GPU")
    run = resolve_run(
        training("a", train={"steps": 9, "learning_rate": 0.1, "compile": "auto"}), taught_store
    )
    assert with_precision(run).config.train.compile is False
    assert not asked
    on_gpu = with_precision(run, worker=Worker(device="cuda"))
    assert on_gpu.config.train.compile is True
    assert asked == [(8, "cuda", "float32", 9)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train": {"compile": True, "memory": "reversible"}},
            "compile: false with memory: reversible",
        ),
        (
            {
                "train": {"compile": True},
                "scaling": {"workers": 2},
                "objective": {
                    "kind": "distillation", "teacher": "runs/t", "weights": {"hints": 1},
                    "hints": [{"student": "step0", "teacher": "step0", "normalize": True}],
                },
            },
            "compile: false for hints with normalize on several workers",
        ),
    ],
)  # fmt: skip
def test_what_does_not_compile_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        training("a", **changes)


def test_what_nobody_measures_is_refused():
    objective = MaximumLikelihood(small_flow("coupling", dtype=torch.float32))
    config = TrainConfig(steps=1, learning_rate=0.01, compile="auto")
    with pytest.raises(ConfigError, match=r"train\.compile: expected true or false here"):
        next(train(objective, None, make_optimizer(objective.flow, config), config))
