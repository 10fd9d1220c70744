"""The family of autoregressive flows: a known density is learned, options fit, it tells itself."""

import math

import pytest
import torch

import flowkd
from flowkd.bijectors import Autoregressive, Jacobi
from flowkd.config import parse_config
from flowkd.errors import ConfigError
from flowkd.flows.autoregressive import AutoregressiveConfig
from tests.support.small_flows import small_batch, small_flow


def bent(rows, seed=0):
    """A normal column, and one around its square: values, and their log-density."""
    noise = torch.randn(rows, 2, generator=torch.Generator().manual_seed(seed))
    x = torch.stack([noise[:, 0], noise[:, 0] ** 2 + 0.3 * noise[:, 1]], dim=1)
    squares = noise.square().sum(1)
    return x, -0.5 * squares - math.log(2 * math.pi) - math.log(0.3)


LEARNED = {
    "density": {"direction": "density", "transform": "spline"},
    "sampling": {"direction": "sampling", "transform": "affine", "mix": "reverse"},
}


@pytest.mark.parametrize("options", LEARNED.values(), ids=LEARNED)
def test_a_known_density_is_learned(options):
    flow = flowkd.autoregressive(2, depth=2, width=24, **options)
    x, _ = bent(4000)
    flowkd.fit(flow, x, steps=150, batch_size=256, progress=False, learning_rate=5e-3)
    test, known = bent(4000, seed=1)
    with torch.no_grad():
        missed = (known - flow.log_prob(test)).mean().item()
    assert -0.02 < missed < 0.2  # nats; a normal distribution misses 0.8


def test_a_flow_tells_what_takes_one_pass():
    assert small_flow("autoregressive").one_pass == {"log_prob": True, "sample": False}
    assert small_flow("autoregressive, sampling").one_pass == {"log_prob": False, "sample": True}
    assert small_flow("coupling").one_pass == {"log_prob": True, "sample": True}
    assert flowkd.for_inference(small_flow("autoregressive")).one_pass["log_prob"]


def test_jacobi_is_an_option_of_the_family_and_of_its_form_for_inference():
    flow = flowkd.autoregressive(6, depth=1, decoding="jacobi", tolerance=1e-5, groups=2)
    fast = flowkd.for_inference(flow, engine="torch")
    for each in (flow, fast):
        (found,) = (m for m in each.modules() if isinstance(m, Autoregressive))
        assert found.decoding == Jacobi(1e-5, 2)


@torch.no_grad()
def test_weights_that_are_kept_are_of_the_dtype_and_of_what_was_loaded():
    flow, other = small_flow("autoregressive"), small_flow("autoregressive", seed=1)
    fast, another = (flowkd.for_inference(each) for each in (flow, other))
    z, _ = small_batch(flow)
    fast.inverse(z)
    fast.float().inverse(z.float())
    torch.testing.assert_close(fast.double().inverse(z), flow.inverse(z), rtol=1e-5, atol=1e-5)
    fast.load_state_dict(another.state_dict())
    torch.testing.assert_close(fast.inverse(z), other.inverse(z))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"event_shape": [1]}, r"event_shape \(D,\) with D of at least 2"),
        ({"transform": "affine", "bins": 4}, "expected transform: spline, for bins"),
        ({"bins": 1}, "bins"),
        ({"tolerance": 0.1}, "expected decoding: jacobi, for tolerance; got decoding: exact"),
        ({"groups": 2}, "expected decoding: jacobi, for groups"),
        ({"blocks": 2, "hidden": 3}, "expected blocks or hidden; got 2 and 3"),
        ({"activation": "sine"}, "activation"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        parse_config(AutoregressiveConfig, options, source="flow")
