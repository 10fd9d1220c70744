"""Requests that do not fit their model are refused, by name and with the value."""

import math

import numpy as np
import pytest
import torch

from flowkd.config import parse_config
from flowkd.errors import ConfigError
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig
from flowkd.predict.predictor import Predictor
from flowkd.predict.requests import (
    InvalidRequestError,
    LogProbRequest,
    RequestLimits,
    SampleRequest,
)

GLOW = {"levels": 2, "depth": 1, "width": 8}
MODELS = {
    "photos": (GlowConfig(event_shape=(3, 8, 8), mean=128.0, scale=256.0, **GLOW), 256),
    "digits": (GlowConfig(event_shape=(1, 8, 8), mean=8.5, scale=17.0, classes=10, **GLOW), 17),
    "table": (
        CouplingConfig(
            event_shape=(5,),
            mean=1.0,
            scale=2.0,
            context_size=2,
            context_mean=(0.5, -0.3),
            context_scale=(2.0, 0.5),
        ),
        None,
    ),
}


def random_flow(config):
    """A flow far from its start, where a context does nothing."""
    flow = build_flow(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)  # a fixture of the file comes before any seed
    for parameter in flow.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return flow


@pytest.fixture(scope="module")
def photos():
    config, bins = MODELS["photos"]
    return Predictor(random_flow(config), bins)


PIXELS = np.full((2, 3, 8, 8), 7)
BAD_DATA = {
    "one example without N": (PIXELS[0], r"expected shape \(N, 3, 8, 8\).*got shape \(3, 8, 8\)"),
    "another side": (PIXELS[..., 1:], r"got shape \(2, 3, 8, 7\)"),
    "no example": (PIXELS[:0], r"N of at least 1; got shape \(0, 3, 8, 8\)"),
    "a number": (3, r"got shape \(\)"),
    "ragged": ([[1, 2], [3]], "lists of equal lengths"),
    "text": ("cat", "x: expected integers or floats; got 'cat'"),
    "text in a row": ([[1, 2], [3, "4"]], r"x\[1, 1\]: expected integers or floats; got '4'"),
    "null": ([None], r"x\[0\]: expected integers or floats; got null"),
    "true among floats": ([[0.5, 2], [True, 1.5]], r"x\[1, 0\]: expected .* got true"),
    "false among integers": ([[[3, 0], [1, False]]], r"x\[0, 1, 1\]: expected .* got false"),
    "bool": (PIXELS > 0, "got dtype bool"),
    "complex": (PIXELS * 1j, "got dtype complex128"),
    "beyond int64": ([1, 2**70], r"x\[1\]: expected integers or floats; got 11805"),
    "NaN": (np.where(PIXELS == 7, np.nan, 0), r"got nan at \[0, 0, 0, 0\], 384 such"),
    "infinite": (np.where(PIXELS == 7, np.inf, 0), "expected finite float32 values; got inf"),
    "beyond float32": (PIXELS * 1e300, "expected finite float32 values; got 7e"),
    "pixel too large": (PIXELS + 249, "pixel values 0..255; got values from 256 to 256"),
    "pixel negative": (PIXELS - 8, "pixel values 0..255; got values from -1 to -1"),
    "float too large": (PIXELS * 40.0, "floats from 0 to 256; got values from 280"),
    "too many": (np.tile(PIXELS, (3, 1, 1, 1)), "at most 5 examples of 192 values; got 6"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_are_refused(photos, case):
    x, message = BAD_DATA[case]
    with pytest.raises(InvalidRequestError, match=message):
        photos.log_prob(LogProbRequest(x=x), RequestLimits(max_examples=5))


BAD_CONTEXTS = {
    ("photos", 1): "this model expects no context; got one",
    ("digits", None): r"expects a class 0..9 for all or a list of 2; got none",
    ("digits", 10): "expected classes 0..9; got 10..10",
    ("digits", (0, -1)): "expected classes 0..9; got -1..0",
    ("digits", 1.0): r"got floats of shape \(\)",
    ("digits", (1, 2, 3)): r"list of 2; got integers of shape \(3,\)",
    ("digits", "two"): "context: expected integers or floats",
    ("table", None): r"vector \(2,\) for all or vectors \(2, 2\); got none",
    ("table", (1.0, 2.0, 3.0)): r"got floats of shape \(3,\)",
    ("table", (1.0, math.nan)): r"got nan at \[1\]",
    ("table", (2.5, True)): r"context\[1\]: expected integers or floats; got true",
    ("digits", (1, False)): r"context\[1\]: expected integers or floats; got false",
}


@pytest.mark.parametrize(("name", "given"), BAD_CONTEXTS)
def test_bad_contexts_are_refused(name, given):
    config, bins = MODELS[name]
    predictor = Predictor(random_flow(config), bins)
    with pytest.raises(InvalidRequestError, match=BAD_CONTEXTS[name, given]):
        predictor.sample(SampleRequest(n=2, context=given))


def test_one_context_serves_all_examples():
    config, bins = MODELS["digits"]
    predictor = Predictor(random_flow(config), bins)
    one, each = (predictor.sample(SampleRequest(n=3, seed=1, context=c)) for c in (4, [4, 4, 4]))
    assert torch.equal(one, each)
    assert not torch.equal(one, predictor.sample(SampleRequest(n=3, seed=1, context=5)))


BAD_REQUESTS = {
    "n: Input should be greater than or equal to 1; got 0": {"n": 0},
    "n: Input should be a valid integer; got '3'": {"n": "3"},
    "n: Input should be a valid integer; got True": {"n": True},
    "temperature: Input should be greater than 0; got 0": {"temperature": 0},
    "temperature: Input should be a finite number; got nan": {"temperature": math.nan},
    "seed: Input should be greater than or equal to 0; got -1": {"seed": -1},
    "count: unknown key": {"count": 3},
    "valid dictionary": [1],
}


@pytest.mark.parametrize("message", BAD_REQUESTS)
def test_bad_fields_are_named(message):
    with pytest.raises(ConfigError) as error:
        parse_config(SampleRequest, BAD_REQUESTS[message], source="the body")
    assert message in str(error.value)


def test_too_many_values_are_refused(photos):
    with pytest.raises(
        InvalidRequestError, match="n: expected at most 10 examples of 192 values; got 11"
    ):
        photos.sample(SampleRequest(n=11), RequestLimits(max_values=2000))
    with pytest.raises(InvalidRequestError, match="at most 4096 examples"):
        photos.sample(SampleRequest(n=5000))
