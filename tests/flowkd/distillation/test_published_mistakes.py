"""What the published research code of the method got wrong, one test each, in its numbering.

Distilling Normalizing Flows, 2025, https://arxiv.org/abs/2506.21003.
"""

import copy
import math

import numpy as np
import pytest
import torch

from flowkd.data.batch import Batch
from flowkd.data.loader import BatchLoader
from flowkd.data.rows import Examples
from flowkd.data.writing import SplitArrays, write_dataset
from flowkd.distillation.hints import Hint
from flowkd.distillation.losses import Distillation
from flowkd.distillation.schedules import LossWeights
from flowkd.errors import NonFiniteError
from flowkd.evaluation.metrics import evaluate_likelihood
from flowkd.flows.build import build_flow
from flowkd.flows.glow import GlowConfig
from flowkd.registry.artifacts import load_artifact
from flowkd.training.config import TrainingConfig
from flowkd.training.loop import make_optimizer, train
from flowkd.training.run import Run
from flowkd.training.setup import run_in_process
from flowkd.training.train_config import TrainConfig
from tests.support.small_flows import randomise, small_batch, small_flow
from tests.support.small_runs import prepared

GLOW = GlowConfig(event_shape=(1, 8, 8), mean=8.5, scale=17.0, levels=2, depth=2, width=4)


def flows():
    teacher = randomise(build_flow(GLOW.model_copy(update={"depth": 3})), seed=1)
    return randomise(build_flow(GLOW), seed=2), teacher


def pictures(rows=40):
    return np.random.default_rng(0).integers(0, 17, (rows, 1, 8, 8)).astype(np.uint8)


@pytest.fixture
def store(memory_store):
    rows = SplitArrays(pictures())
    splits = {"train": rows, "val": SplitArrays(pictures(20)), "test": SplitArrays(pictures(10))}
    write_dataset(memory_store, "pictures", splits, kind="image", source="a test", bins=17)
    return memory_store


def training(name, **options):
    values = {
        "name": name,
        "dataset": "pictures",
        "flow": {"kind": "glow", "levels": 2, "depth": 2, "width": 4},
        "train": {"steps": 4, "learning_rate": 1e-3, "warmup_steps": 0},
        "batch_size": 8,
        "validate_every": 1,
    }
    return TrainingConfig.model_validate({**values, **options})


def test_1_the_noise_is_drawn_once_and_both_flows_see_it():
    student, teacher = flows()
    seen = []
    for flow in (student, teacher):
        flow.register_forward_pre_hook(lambda _module, arguments: seen.append(arguments[0].clone()))
    stored = Examples(torch.from_numpy(pictures()))
    batch = BatchLoader(stored, batch_size=8, seed=0, bins=17).batch(0)
    before = batch.x.clone()
    Distillation(student, teacher, weights=LossWeights(latent=1.0))(batch)
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(batch.x, before)
    assert (batch.x - batch.x.floor()).max() < 1  # one noise, not a sum of two
    assert torch.equal(stored.x, torch.from_numpy(pictures()))


def test_2_every_latent_dimension_is_matched_those_of_earlier_levels_too():
    teacher = build_flow(GLOW)
    x = torch.from_numpy(pictures(8)).float()
    encoding = teacher(x)
    for channel in range(encoding.z.shape[1]):
        student = copy.deepcopy(teacher)
        moved = encoding.z.clone()
        moved[:, channel] += 1.0
        student.forward = lambda *_, z=moved: type(encoding)(z, encoding.log_prob, {})
        terms = Distillation(student, teacher, weights=LossWeights(latent=1.0))(Batch(x)).terms
        assert terms["latent"].item() == pytest.approx(1 / encoding.z.shape[1])


def test_3_a_hint_that_teaches_nothing_is_refused():
    hint = Hint(student="squeeze0", teacher="squeeze0")
    with pytest.raises(ValueError, match="no student parameter precedes 'squeeze0'"):
        Distillation(*flows(), [hint], LossWeights(hints=1.0))


def test_4_synthesis_shares_the_latents_of_all_levels():
    _, teacher = flows()
    twin = copy.deepcopy(teacher)
    z = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
    batch = Batch(torch.from_numpy(pictures(8)).float(), z=z)
    terms = Distillation(twin, teacher, weights=LossWeights(synthesis=1.0))(batch).terms
    assert terms["synthesis"].item() == 0.0


@pytest.mark.parametrize("distils", [False, True])
def test_5_actnorm_is_initialised_on_data_in_every_arm(store, distils):
    list(run_in_process(training("teacher"), store))
    objective = {
        "kind": "distillation",
        "teacher": "runs/teacher",
        "weights": {"latent": 1},
        "warm_start": "none",
    }
    run = prepared(training("student", **({"objective": objective} if distils else {})), store)
    flow = run.objective.flow
    x = run.inputs.calibration.x
    h = flow(x, taps=["level0.step0.actnorm"]).states["level0.step0.actnorm"].h
    per_channel = h.transpose(0, 1).flatten(1)
    torch.testing.assert_close(per_channel.mean(1), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(per_channel.std(1), torch.ones(4), atol=1e-3, rtol=0)


def test_6_hints_pair_by_name_and_none_is_left_out_in_silence():
    student, teacher = flows()
    pairs = [("level0.step0", "level0.step0"), ("level0.step1", "level0.step2")]
    hints = [Hint(student=ours, teacher=theirs) for ours, theirs in pairs]
    x, _ = small_batch(student, dtype=torch.float32)
    both = Distillation(student, teacher, hints, LossWeights(hints=1.0))(Batch(x)).terms["hints"]
    each = [
        Distillation(student, teacher, [hint], LossWeights(hints=1.0))(Batch(x)).terms["hints"]
        for hint in hints
    ]
    assert both.item() == pytest.approx(sum(term.item() for term in each) / 2)
    unequal = [Hint(student="level0.step0", teacher="level1.step0")]
    with pytest.raises(ValueError, match="expected equal shapes"):
        Distillation(student, teacher, unequal, LossWeights(hints=1.0))


@pytest.mark.parametrize("term", ["latent", "density", "synthesis"])
def test_7_a_nan_stops_the_run_and_names_step_and_term(term):
    student, teacher = flows()
    with torch.no_grad():
        teacher.chain["level1.step0.actnorm"].bias.fill_(math.nan)
    objective = Distillation(student, teacher, weights=LossWeights(**{term: 1.0}))
    x = torch.from_numpy(pictures(8)).float()
    config = TrainConfig(steps=3, learning_rate=1e-3)
    batches = type("Same", (), {"batch": lambda _, step: Batch(x, z=torch.randn(8, 64))})()
    with pytest.raises(NonFiniteError, match=f"step 1: {term} is nan"):
        list(train(objective, batches, make_optimizer(student, config), config))


def test_8_weights_are_chosen_on_validation_and_test_is_not_read(store, monkeypatch):
    for shard in store.list("datasets", "pictures"):
        if shard.startswith("test"):
            store.remove("datasets", "pictures", shard)
    seen = []
    keep = Run.keep_if_best
    monkeypatch.setattr(Run, "keep_if_best", lambda *a: seen.append(keep(*a)) or seen[-1])
    list(run_in_process(training("run"), store))
    assert load_artifact(store, "runs/run").metrics["validation_bits_per_dim"] == min(seen)


def test_9_what_is_reported_is_sound_at_a_small_number_of_samples():
    """Unlike FID, which is biased at small n, a mean log-likelihood is the same on average."""
    flow = small_flow("coupling", dtype=torch.float32)
    x, _ = small_batch(flow, rows=64, dtype=torch.float32)
    whole = evaluate_likelihood(flow, Examples(x), None).bits_per_dim
    parts = [evaluate_likelihood(flow, Examples(part), None) for part in x.split(4)]
    mean = sum(part.bits_per_dim for part in parts) / len(parts)
    assert mean == pytest.approx(whole, abs=1e-5)
    assert all(part.standard_error > 0 for part in parts)
