"""How far the training is: what schedules of weights go by."""

from __future__ import annotations

import torch
from torch import nn

from flowkd.data.batch import Batch
from flowkd.distillation.losses import Losses
from flowkd.training.loop import make_optimizer, train
from flowkd.training.train_config import TrainConfig
from tests.support.small_flows import small_batch, small_flow


class Told(nn.Module):
    """An objective that notes the progress that it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = small_flow("coupling")
        self.progress: list[float] = []

    def forward(self, batch: Batch, progress: float = 0.0) -> Losses:
        self.progress.append(progress)
        total = -self.flow.log_prob(batch.x, batch.context).mean()
        return Losses(total, {"nll": total})


class Same:
    """The same batch at every step."""

    def __init__(self, batch: Batch) -> None:
        self.same = batch

    def batch(self, step: int) -> Batch:
        return self.same


def test_an_objective_is_told_which_share_of_the_steps_is_done() -> None:
    for start in (0, 3):
        objective, config = Told(), TrainConfig(steps=5, learning_rate=1e-3)
        batches = Same(Batch(*small_batch(objective.flow)))
        optimizer = make_optimizer(objective.flow, config)
        assert len(list(train(objective, batches, optimizer, config, start=start))) == 5 - start
        assert objective.progress == [step / 5 for step in range(start, 5)]
    assert torch.isfinite(torch.tensor(objective.progress)).all()
