"""A served flow, a direction of which goes column by column: the same bits in any batch."""

import pytest
import torch

from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow
from flowkd.predict.predictor import Predictor, value_or_raise
from flowkd.predict.requests import LogProbRequest, SampleRequest
from flowkd.registry.artifacts import load_artifact, write_artifact
from tests.support.small_flows import randomise


@pytest.mark.parametrize("direction", ["density", "sampling"])
def test_a_batch_changes_no_bit_and_samples_are_of_the_density(memory_store, direction):
    config = AutoregressiveConfig(
        event_shape=(7,), mean=1.0, scale=2.0, depth=2, width=10, classes=3, direction=direction
    )
    flow = randomise(build_flow(config), by=0.1)
    write_artifact(memory_store, "runs/a/result", flow, config)
    predictor = Predictor.from_artifact(load_artifact(memory_store, "runs/a"), "torch")
    assert predictor.chunk_size > 1
    asked = [
        predictor.prepare_sample(SampleRequest(n=n, seed=n, context=[row % 3 for row in range(n)]))
        for n in (3, 1, 40, 7)
    ]
    together = [value_or_raise(x) for x in predictor.sample_batch(asked)]
    for inputs, x in zip(asked, together, strict=True):
        assert torch.equal(x, value_or_raise(predictor.sample_batch([inputs])[0]))
    x, classes = together[2], torch.arange(40) % 3
    given = LogProbRequest(x=x.numpy(), context=classes.tolist())
    (found,) = predictor.log_prob_batch([predictor.prepare_log_prob(given)])
    known = flow.double().log_prob(x.double(), classes)
    torch.testing.assert_close(value_or_raise(found).log_prob.double(), known, rtol=1e-4, atol=1e-3)
