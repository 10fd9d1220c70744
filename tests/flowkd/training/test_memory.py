"""Trainings with a reversible backward: the losses of ordinary ones, in one process and in two."""

import copy

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing
from torch.nn.parallel import DistributedDataParallel

import flowkd
from flowkd.data.batch import Batch
from flowkd.distillation.hints import Hint
from flowkd.distillation.losses import Distillation, MaximumLikelihood
from flowkd.distillation.schedules import LossWeights
from flowkd.training.loop import make_optimizer, train
from flowkd.training.train_config import TrainConfig
from tests.support.small_flows import small_batch, small_flow


def taught(name):
    """A student with every term: at taps, of the density, and of what it makes of noise."""
    student, teacher = (small_flow(name, seed, torch.float32) for seed in (0, 1))
    weights = LossWeights(
        nll=1.0, samples=0.5, density=0.1, latent=0.1, hints=0.1, log_det=0.1, synthesis=0.1
    )
    taps = list(teacher.taps)
    hints = [Hint(student=tap, teacher=tap) for tap in (taps[-1], taps[len(taps) // 2])]
    return Distillation(student, teacher, hints, weights)


class Batches:
    def __init__(self, flow, rank=0, world=1):
        self.flow, self.mine = flow, slice(rank, None, world)

    def batch(self, step):
        x, context = small_batch(self.flow, 8, torch.float32, seed=step)
        context = None if context is None else context[self.mine]
        generator = torch.Generator().manual_seed(step)
        z = torch.randn(8, self.flow.dimensions, generator=generator)[self.mine]
        return Batch(x[self.mine], context, z[: len(z) - 2], samples=2)


def losses(objective, memory, wrap=lambda module: module, rank=0, world=1):
    config = TrainConfig(steps=4, learning_rate=0.003, warmup_steps=0, memory=memory)
    optimizer = make_optimizer(objective.flow, config)
    batches = Batches(objective.flow, rank, world)
    return [result.loss for result in train(wrap(objective), batches, optimizer, config)]


@pytest.mark.parametrize(
    "name", ["glow", "glow of a vector", "coupling, transformed", "coupling, splines"]
)
def test_a_reversible_training_is_the_ordinary_one(name):
    objective = taught(name)
    ordinary = losses(copy.deepcopy(objective), "ordinary")
    seen = []
    flow = objective.flow
    objective.register_forward_hook(lambda *_: seen.append(flow.reversible))
    assert losses(objective, "reversible") == pytest.approx(ordinary, rel=1e-4)
    assert seen == [True] * 4
    assert not flow.reversible
    assert len(set(ordinary)) == 4


def test_fit_leaves_a_flow_as_any_other():
    flow = flowkd.coupling(3, depth=2, width=4)
    x = torch.randn(64, 3)
    made = []
    for memory in ("ordinary", "reversible"):
        fresh = copy.deepcopy(flow)
        options = {"steps": 3, "learning_rate": 0.01, "batch_size": 16, "progress": False}
        made.append(flowkd.fit(fresh, x, memory=memory, **options).losses)
        assert not fresh.reversible
    assert made[0] == pytest.approx(made[1], rel=1e-5)


def learn_together(rank, folder):
    """Writes what one of two processes has learnt from its share of the rows."""
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    objective = MaximumLikelihood(small_flow("glow", dtype=torch.float32))
    losses(objective, "reversible", DistributedDataParallel, rank, 2)
    torch.save(learnt(objective), f"{folder}/{rank}")
    dist.destroy_process_group()


def learnt(objective):
    return torch.cat([value.detach().flatten() for value in objective.flow.parameters()])


def test_two_processes_learn_what_one_does(tmp_path):
    alone = MaximumLikelihood(small_flow("glow", dtype=torch.float32))
    losses(alone, "ordinary")
    other = multiprocessing.get_context("spawn").Process(target=learn_together, args=(1, tmp_path))
    other.start()
    learn_together(0, tmp_path)
    other.join()
    ours, others = (torch.load(tmp_path / rank, weights_only=True) for rank in "01")
    assert torch.equal(ours, others)
    torch.testing.assert_close(ours, learnt(alone), rtol=0, atol=1e-4)
