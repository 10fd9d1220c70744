"""Properties of queries: answers that batching cannot change, and requests that are refused."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from flowkd import chunks
from flowkd.build import CouplingConfig, GlowConfig, build_flow
from flowkd.config import parse_config
from flowkd.data import Examples
from flowkd.errors import ConfigError
from flowkd.grid import encode_png, picture_grid
from flowkd.metrics import evaluate_likelihood
from flowkd.query import (
    Model,
    QueryError,
    QueryLimits,
    SampleRequest,
    ScoreRequest,
    prepare_sample,
    prepare_score,
    run_samples,
    run_scores,
    sample,
    score,
    unwrap,
)

GLOW = {"levels": 2, "steps": 2, "width": 16}
MODELS = {
    "photos": (GlowConfig(event_shape=(3, 8, 8), mean=128.0, scale=256.0, **GLOW), 256),
    "digits": (GlowConfig(event_shape=(1, 8, 8), mean=8.5, scale=17.0, classes=10, **GLOW), 17),
    "table": (
        CouplingConfig(event_shape=(5,), mean=1.0, scale=2.0, context_size=2, width=16),
        None,
    ),
}


def random_flow(config, seed=0):
    """A flow far from its start, where couplings do nothing."""
    flow = build_flow(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in flow.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return flow


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    config, bins = MODELS[request.param]
    return Model(random_flow(config), bins)


@pytest.fixture(scope="module")
def photos():
    return Model(random_flow(MODELS["photos"][0]), 256)


def context(model, n):
    spec = model.flow.context
    if spec.classes:
        return [i % spec.classes for i in range(n)]
    return [[i / 10, -i / 20] for i in range(n)] if spec.size else None


def sample_jobs(model, sizes):
    return [
        prepare_sample(
            model, SampleRequest(n=n, seed=n, temperature=0.5 + n / 50, context=context(model, n))
        )
        for n in sizes
    ]


def score_jobs(model, sizes):
    x = sample(model, SampleRequest(n=max(sizes), seed=5, context=context(model, max(sizes))))
    return [
        prepare_score(model, ScoreRequest(x=x[:n].numpy(), context=context(model, n), seed=n))
        for n in sizes
    ]


@pytest.mark.parametrize("sizes", [[1] * 16, [3, 1, 40, 7], [33, 64], list(range(1, 12))])
def test_a_batch_changes_no_bit(model, sizes):
    model = Model(model.flow, None)  # compares the floats, not the pixels
    jobs = sample_jobs(model, sizes)
    together = run_samples(model, jobs)
    for job, answer in zip(jobs, together, strict=True):
        assert torch.equal(answer, unwrap(run_samples(model, [job])[0]))
    jobs = score_jobs(model, sizes)
    for job, answer in zip(jobs, run_scores(model, jobs), strict=True):
        assert torch.equal(answer.nats, unwrap(run_scores(model, [job])[0]).nats)


def test_a_sample_does_not_depend_on_its_place_in_the_batch(model):
    job, *others = sample_jobs(Model(model.flow), [1, *[5] * 8])
    alone = run_samples(model, [job])[0]
    for place in range(len(others)):
        batch = [*others[:place], job, *others[place:]]
        assert torch.equal(run_samples(model, batch)[place], alone)


def test_a_flow_whose_rows_depend_on_their_place_runs_them_alone(photos, monkeypatch):
    inverse = type(photos.flow).inverse

    def uneven(self, z, context=None):
        return inverse(self, z, context) + torch.arange(len(z)).view(-1, 1, 1, 1)

    monkeypatch.setattr(type(photos.flow), "inverse", uneven)
    assert photos.chunk > 1
    assert chunks.chunk_rows(photos.flow) == 1


def test_samples_are_those_of_the_flow(model):
    request = SampleRequest(n=6, seed=3, temperature=0.7, context=context(model, 6))
    got = sample(model, request)
    given = prepare_sample(model, request).context
    generator = torch.Generator().manual_seed(3)
    expected = model.flow.sample(6, given, temperature=0.7, generator=generator)
    if model.bins is None:
        torch.testing.assert_close(got, expected)
        return
    assert got.dtype == torch.uint8
    assert int(got.max()) < model.bins
    # Rounding in the last bits may move a value that lies on the edge of a pixel.
    whole = expected.floor().clamp(0, model.bins - 1)
    assert (got != whole).float().mean() < 0.01


def test_seeds_decide(photos):
    first, again, other = (sample(photos, SampleRequest(n=2, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert SampleRequest().seed != SampleRequest().seed


def test_scores_of_floats_are_the_density_there(model):
    shape = model.flow.event_shape
    x = torch.rand(7, *shape, generator=torch.Generator().manual_seed(0)) * (model.bins or 1)
    request = ScoreRequest(x=x.tolist(), context=context(model, 7))
    scores = score(model, request)
    job = prepare_score(model, request)
    assert torch.equal(job.x, x)
    expected = model.flow.log_prob(x, job.context)
    torch.testing.assert_close(scores.nats, expected, rtol=1e-5, atol=1e-3)
    bits = -scores.nats.double() / (math.prod(shape) * math.log(2))
    torch.testing.assert_close(scores.bits_per_dim.double(), bits, rtol=1e-5, atol=1e-6)


def test_scores_of_pixels_are_those_that_are_reported(photos):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (40, 3, 8, 8), generator=generator).to(torch.uint8)
    reported = evaluate_likelihood(photos.flow, Examples(x), 256, batch_size=7)
    for values in (x.numpy(), x.tolist(), x.numpy().astype(">i8")):
        scores = score(photos, ScoreRequest(x=values))
        assert scores.bits_per_dim.mean().item() == pytest.approx(reported.bits_per_dim, rel=1e-6)
    noisy = prepare_score(photos, ScoreRequest(x=x.numpy())).x - x
    assert 0.4 < noisy.mean() < 0.6
    other = score(photos, ScoreRequest(x=x.numpy(), seed=1))
    assert not torch.equal(other.nats, scores.nats)


PIXELS = np.full((2, 3, 8, 8), 7)
BAD_SCORES = {
    "one example without N": (PIXELS[0], r"expected shape \(N, 3, 8, 8\).*got shape \(3, 8, 8\)"),
    "another side": (PIXELS[..., 1:], r"got shape \(2, 3, 8, 7\)"),
    "no example": (PIXELS[:0], r"N of at least 1; got shape \(0, 3, 8, 8\)"),
    "a number": (3, r"got shape \(\)"),
    "ragged": ([[1, 2], [3]], "lists of equal lengths"),
    "text": ("cat", "expected integers or floats; got dtype <U3"),
    "null": ([None], "expected integers or floats; got NoneType"),
    "bool": (PIXELS > 0, "got dtype bool"),
    "complex": (PIXELS * 1j, "got dtype complex128"),
    "beyond int64": ([2**70], "got int"),
    "NaN": (np.where(PIXELS == 7, np.nan, 0), r"got nan at \[0, 0, 0, 0\], 384 such"),
    "infinite": (np.where(PIXELS == 7, np.inf, 0), "expected finite float32 values; got inf"),
    "beyond float32": (PIXELS * 1e300, "expected finite float32 values; got 7e"),
    "pixel too large": (PIXELS + 249, "pixel values 0..255; got values from 256 to 256"),
    "pixel negative": (PIXELS - 8, "pixel values 0..255; got values from -1 to -1"),
    "float too large": (PIXELS * 40.0, "floats from 0 to 256; got values from 280"),
    "too many": (np.tile(PIXELS, (3, 1, 1, 1)), "at most 5 examples of 192 values; got 6"),
}


@pytest.mark.parametrize("case", BAD_SCORES)
def test_bad_data_are_refused(photos, case):
    x, message = BAD_SCORES[case]
    with pytest.raises(QueryError, match=message):
        score(photos, ScoreRequest(x=x), QueryLimits(n_max=5))


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
}


@pytest.mark.parametrize(("name", "given"), BAD_CONTEXTS)
def test_bad_contexts_are_refused(name, given):
    config, bins = MODELS[name]
    model = Model(random_flow(config), bins)
    with pytest.raises(QueryError, match=BAD_CONTEXTS[name, given]):
        sample(model, SampleRequest(n=2, context=given))


def test_one_context_serves_all_examples():
    config, bins = MODELS["digits"]
    model = Model(random_flow(config), bins)
    one, each = (sample(model, SampleRequest(n=3, seed=1, context=c)) for c in (4, [4, 4, 4]))
    assert torch.equal(one, each)
    assert not torch.equal(one, sample(model, SampleRequest(n=3, seed=1, context=5)))


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
    with pytest.raises(QueryError, match="n: expected at most 10 examples of 192 values; got 11"):
        sample(photos, SampleRequest(n=11), QueryLimits(values_max=2000))
    with pytest.raises(QueryError, match="at most 4096 examples"):
        sample(photos, SampleRequest(n=5000))


def test_an_answer_that_is_not_finite_fails_alone(photos):
    table = Model(random_flow(MODELS["table"][0]))
    far = ScoreRequest(x=[[0.0] * 5, [1e30] * 5], context=[0.0, 0.0])
    near = ScoreRequest(x=[[0.0] * 5], context=[0.0, 0.0])
    bad, good = run_scores(table, [prepare_score(table, request) for request in (far, near)])
    assert isinstance(bad, QueryError)
    assert "example 1 is too far" in str(bad)
    assert torch.isfinite(good.nats).all()


@pytest.mark.parametrize(("channels", "n", "size"), [(3, 5, (26, 17)), (1, 1, (8, 8))])
def test_pictures_lie_in_a_nearly_square_grid(channels, n, size):
    pictures = np.arange(n, dtype=np.uint8)[:, None, None, None] + np.zeros((channels, 8, 8))
    grid = picture_grid(pictures, bins=6)
    width, height = size
    assert grid.shape == ((height, width, 3) if channels == 3 else (height, width))
    for i in range(n):
        top, left = i // 3 * 9, i % 3 * 9
        assert (grid[top : top + 8, left : left + 8] == i * 51).all()
    if n > 1:
        assert (grid[8] == 255).all()
        assert (grid[:, 8] == 255).all()
    with Image.open(io.BytesIO(encode_png(grid))) as image:
        assert image.size == size
        assert image.mode == ("RGB" if channels == 3 else "L")
