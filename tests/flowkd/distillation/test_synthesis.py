"""The term that compares what student and teacher make of the same noise."""

from __future__ import annotations

import pytest
import torch

from flowkd.data.batch import Batch
from flowkd.distillation.losses import Distillation
from flowkd.distillation.schedules import LossWeights
from tests.support.small_flows import small_batch, small_flow


@pytest.mark.parametrize("name", ["coupling of classes", "glow of a vector"])
def test_noise_for_the_rows_of_data_alone_goes_with_their_contexts(name: str) -> None:
    student, teacher = small_flow(name, seed=1), small_flow(name, seed=2)
    x, context = small_batch(student, rows=7)
    z = torch.randn(4, student.dimensions, dtype=x.dtype)  # the last 3 rows are samples
    loss = Distillation(student, teacher, weights=LossWeights(nll=0, synthesis=1))
    got = loss(Batch(x, context, z, samples=3)).terms["synthesis"]
    assert context is not None
    latents = z.view(-1, *student.latent_shape)
    made, target = (
        teacher.preprocess(flow.inverse(latents, context[:4]))[0] for flow in (student, teacher)
    )
    torch.testing.assert_close(got, (made - target).abs().mean())
