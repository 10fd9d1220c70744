"""What a GPU wants of the loop, on a CPU: batches in parts, and no waiting for what is not read."""

import copy
import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from flowkd.config import reason
from flowkd.errors import NonFiniteError
from flowkd.training.loop import make_optimizer, train
from flowkd.training.train_config import TrainConfig
from tests.flowkd.training.test_memory import Batches, learnt, taught
from tests.support.small_runs import DISTILLATION, training

NAMES = ["glow of a vector", "coupling of classes"]


def steps(objective, batches=None, count=4, **options):
    reads = options.pop("reads", lambda _: True)
    config = TrainConfig(steps=count, learning_rate=0.003, warmup_steps=0, **options)
    optimizer = make_optimizer(objective.flow, config)
    batches = batches or Batches(objective.flow)
    return train(objective, batches, optimizer, config, reads=reads)


@pytest.mark.parametrize("name", NAMES)
def test_parts_of_a_batch_add_up_to_the_whole(name):
    """Of every term, those of samples and of noise included."""
    whole = taught(name)
    parted = copy.deepcopy(whole)
    for one, other in zip(steps(whole), steps(parted, accumulate=2), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-5)
        assert other.terms == pytest.approx(one.terms, rel=1e-4)
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-4)
    torch.testing.assert_close(learnt(parted), learnt(whole), rtol=0, atol=1e-4)


def test_parts_that_are_not_equal_are_refused():
    with pytest.raises(ValueError, match="divides each worker's 6 rows of data in a batch; got 4"):
        next(steps(taught("glow"), accumulate=4))
    for values, message in (
        ({"train": {"accumulate": 3}}, "expected batch_size divisible by train.accumulate = 3"),
        (
            {
                "train": {"accumulate": 2},
                "objective": {
                    **DISTILLATION,
                    "hints": [{"student": "step0", "teacher": "step1", "normalize": True}],
                },
            },
            "expected train.accumulate: 1 for hints with normalize",
        ),
    ):
        with pytest.raises(ValueError) as caught:
            training("parts", **values)
        assert message in reason(caught.value)


class Scalars(TorchDispatchMode):
    """Counts how often a tensor's value is asked for, which waits where it is computed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_what_nobody_reads():
    """A GPU goes on while the next step is prepared: the results are those of looking each time."""
    looking = taught("glow of a vector")
    blind = copy.deepcopy(looking)
    expected = [result.loss for result in steps(looking)]
    with Scalars() as scalars:
        unread = list(steps(blind, reads=lambda step: step == 4))
    assert scalars.count == 0
    assert [result.loss for result in unread] == expected
    assert torch.equal(learnt(blind), learnt(looking))
    some = steps(taught("glow of a vector"), reads=lambda step: step % 2 == 0)
    assert ["numbers" in vars(result) for result in some] == [False, True, False, True]


def test_nothing_changes_after_a_step_that_was_not_finite():
    class Faulty(Batches):
        def batch(self, step):
            batch = super().batch(step)
            if step == 1:
                batch.x[0] = math.nan
            return batch

    objective = taught("glow")
    going = steps(objective, Faulty(objective.flow), 6, reads=lambda step: step == 4)
    next(going)
    before = learnt(objective)
    next(going)
    next(going)
    assert torch.equal(learnt(objective), before)
    with pytest.raises(NonFiniteError, match="step 2: nll is nan"):
        next(going)
    assert torch.equal(learnt(objective), before)
