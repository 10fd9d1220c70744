"""What ONNX Runtime answers does not depend on what shares its batch, as torch's does not."""

from __future__ import annotations

import pytest
import torch

from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.predict.predictor import Predictor, value_or_raise
from flowkd.predict.requests import LogProbRequest, SampleRequest
from flowkd.registry.artifacts import load_artifact, write_artifact
from tests.support.small_flows import randomise

pytest.importorskip("onnxruntime")


def test_an_engines_answers_are_those_of_each_request_alone_and_torchs_but_for_rounding(
    memory_store,
):
    config = CouplingConfig(event_shape=(5,), mean=1.0, scale=2.0, depth=1, width=16, classes=3)
    flow = randomise(build_flow(config), by=0.1)
    write_artifact(memory_store, "runs/a/result", flow, config)
    artifact = load_artifact(memory_store, "runs/a")
    onnx, slow = (Predictor.from_artifact(artifact, engine) for engine in ("onnx", "torch"))
    assert onnx.flow.engine is not None
    assert slow.flow.engine is None
    assert onnx.chunk_size > 1
    sizes = (3, 1, 40, 7)
    asked = [
        onnx.prepare_sample(SampleRequest(n=n, seed=n, context=[row % 3 for row in range(n)]))
        for n in sizes
    ]
    samples = [value_or_raise(x) for x in onnx.sample_batch(asked)]
    for inputs, x in zip(asked, samples, strict=True):
        assert torch.equal(x, value_or_raise(onnx.sample_batch([inputs])[0]))
        torch.testing.assert_close(
            x, value_or_raise(slow.sample_batch([inputs])[0]), rtol=1e-4, atol=1e-4
        )
    given = [
        onnx.prepare_log_prob(LogProbRequest(x=x.numpy(), context=[0] * len(x))) for x in samples
    ]
    for inputs, answer in zip(given, onnx.log_prob_batch(given), strict=True):
        log_prob = value_or_raise(answer).log_prob
        assert torch.equal(log_prob, value_or_raise(onnx.log_prob_batch([inputs])[0]).log_prob)
        known = value_or_raise(slow.log_prob_batch([inputs])[0]).log_prob
        torch.testing.assert_close(log_prob, known, rtol=1e-5, atol=1e-4)
