"""Properties of what is reported: bits per dimension in data units, and shares."""

import math

import numpy as np
import pytest
import torch
from torch.autograd.functional import jacobian

from flowkd.bijectors import ActNorm, Bijector, Chain, Standardize
from flowkd.data.dequantize import evaluation_batches
from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import (
    EVALUATION_SEED,
    bits_per_dim,
    evaluate_likelihood,
)
from flowkd.flows.build import build_flow
from flowkd.flows.flow import Flow
from tests.support.small_flows import CONFIGS, randomise, small_flow


def pixels(rows, shape, bins=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Examples(torch.randint(0, bins, (rows, *shape), generator=generator).to(torch.uint8))


class Quantile(Bijector):
    """z with Phi(z) = x / bins, so that a standard normal z makes x uniform on [0, bins)."""

    def __init__(self, bins):
        super().__init__()
        self.normal = torch.distributions.Normal(0.0, 1.0)
        self.bins = bins

    def forward(self, x, context=None):
        z = torch.special.ndtri(x / self.bins)
        return z, -(self.normal.log_prob(z) + math.log(self.bins)).flatten(1).sum(1)

    def inverse(self, z, context=None):
        x = torch.special.ndtr(z) * self.bins
        return x, (self.normal.log_prob(z) + math.log(self.bins)).flatten(1).sum(1)


@pytest.mark.parametrize(("bins", "bits"), [(256, 8), (32, 5), (2, 1)])
def test_a_uniform_density_over_pixels_has_their_bits(bins, bits):
    flow = Flow(Chain({"preprocess": Quantile(bins), "norm": ActNorm(3)}), (3, 4, 4))
    found = evaluate_likelihood(flow, pixels(300, (3, 4, 4), bins), bins)
    assert found.bits_per_dim == pytest.approx(bits, abs=1e-5)
    assert found.nats == pytest.approx(-bits * 48 * math.log(2), rel=1e-5)
    assert found.rows == 300


def test_a_normal_density_over_pixels_has_the_bits_of_its_closed_form():
    # Cross entropy of uniform pixels on [0, 256) under N(128, s^2): log(s sqrt(2 pi)) + V / 2s^2.
    scale, variance = 100.0, 256**2 / 12
    chain = Chain({"preprocess": Standardize(128.0, scale), "norm": ActNorm(3)})
    found = evaluate_likelihood(Flow(chain, (3, 8, 8)), pixels(2000, (3, 8, 8)), 256)
    expected = np.log2(scale * np.sqrt(2 * np.pi)) + variance / (2 * scale**2 * np.log(2))
    assert expected > 8
    assert abs(found.bits_per_dim - expected) < 4 * found.standard_error
    assert found.standard_error < 0.001


@pytest.mark.parametrize("name", ["glow", "coupling"])
def test_the_likelihood_is_that_of_an_independent_computation(name):
    config, rows = CONFIGS[name], 7
    flow = randomise(build_flow(config), by=0.2)
    exact = randomise(build_flow(config), by=0.2).double()
    examples, bins = pixels(rows, config.event_shape), 256
    if name == "coupling":
        examples, bins = Examples(torch.randn(rows, *config.event_shape)), None
    (batch,) = evaluation_batches(examples, bins, rows, EVALUATION_SEED)
    if bins:
        noise = batch.x - examples.x
        assert 0 <= noise.min() < noise.max() < 1
    else:
        assert torch.equal(batch.x, examples.x)
    bits = []
    for x in batch.x.double()[:, None].unbind():
        size = x.numel()
        z = exact(x).z.detach().numpy().ravel()
        matrix = jacobian(lambda value: exact(value).z, x).reshape(size, size).numpy()
        nats = -0.5 * (z @ z) - size / 2 * np.log(2 * np.pi) + np.linalg.slogdet(matrix)[1]
        bits.append(-nats / size / np.log(2))
    found = evaluate_likelihood(flow, examples, bins)
    assert found.bits_per_dim == pytest.approx(np.mean(bits), rel=1e-5)
    assert found.standard_error == pytest.approx(np.std(bits, ddof=1) / np.sqrt(rows), rel=0.05)
    assert found.nats == pytest.approx(-np.mean(bits) * len(z) * np.log(2), rel=1e-5)


def test_the_likelihood_does_not_depend_on_how_rows_are_batched():
    flow, examples = small_flow("glow", dtype=torch.float32), pixels(20, (1, 4, 4))
    whole = evaluate_likelihood(flow, examples, 256)
    for size in (1, 7, 20):
        found = evaluate_likelihood(flow, examples, 256, batch_size=size)
        assert found.bits_per_dim == pytest.approx(whole.bits_per_dim, rel=1e-6)


def test_one_row_has_no_standard_error():
    found = evaluate_likelihood(small_flow("glow", dtype=torch.float32), pixels(1, (1, 4, 4)), 256)
    assert math.isnan(found.standard_error)


def test_nats_become_bits_per_dimension():
    assert bits_per_dim(-10 * math.log(2), 5) == pytest.approx(2)
    assert bits_per_dim(torch.tensor([0.0, -3 * math.log(2)]), 3).tolist() == pytest.approx([0, 1])
