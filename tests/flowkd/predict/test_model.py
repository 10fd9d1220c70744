"""Properties of queries: answers that batching cannot change, and requests that are refused."""

import math

import pytest
import torch

from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import evaluate_likelihood
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig
from flowkd.predict import batching
from flowkd.predict.model import (
    Model,
    QueryError,
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

GLOW = {"levels": 2, "depth": 2, "width": 16}
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
    assert batching.chunk_rows(photos.flow) == 1


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


def test_an_answer_that_is_not_finite_fails_alone(photos):
    table = Model(random_flow(MODELS["table"][0]))
    far = ScoreRequest(x=[[0.0] * 5, [1e30] * 5], context=[0.0, 0.0])
    near = ScoreRequest(x=[[0.0] * 5], context=[0.0, 0.0])
    bad, good = run_scores(table, [prepare_score(table, request) for request in (far, near)])
    assert isinstance(bad, QueryError)
    assert "example 1 is too far" in str(bad)
    assert torch.isfinite(good.nats).all()
