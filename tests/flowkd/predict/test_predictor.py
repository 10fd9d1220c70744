"""A predictor's answers: the flow's own, and not changed by what shares their batch."""

import math

import pytest
import torch

from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import evaluate_likelihood
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.glow import GlowConfig
from flowkd.predict import batching
from flowkd.predict.predictor import Predictor, value_or_raise
from flowkd.predict.requests import InvalidRequestError, LogProbRequest, SampleRequest

GLOW = {"levels": 2, "depth": 2, "width": 16}
MODELS = {
    "photos": (GlowConfig(event_shape=(3, 8, 8), mean=128.0, scale=256.0, **GLOW), 256),
    "digits": (GlowConfig(event_shape=(1, 8, 8), mean=8.5, scale=17.0, classes=10, **GLOW), 17),
    "table": (
        CouplingConfig(
            event_shape=(5,),
            mean=1.0,
            scale=2.0,
            context_size=2,
            width=16,
            context_mean=(0.5, -0.3),
            context_scale=(2.0, 0.5),
        ),
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
def predictor(request):
    config, bins = MODELS[request.param]
    return Predictor(random_flow(config), bins)


@pytest.fixture(scope="module")
def photos():
    return Predictor(random_flow(MODELS["photos"][0]), 256)


def context(predictor, n):
    spec = predictor.flow.context
    if spec.classes:
        return [i % spec.classes for i in range(n)]
    return [[i / 10, -i / 20] for i in range(n)] if spec.size else None


def sample_inputs(predictor, sizes):
    return [
        predictor.prepare_sample(
            SampleRequest(n=n, seed=n, temperature=0.5 + n / 50, context=context(predictor, n))
        )
        for n in sizes
    ]


def log_prob_inputs(predictor, sizes):
    x = predictor.sample(
        SampleRequest(n=max(sizes), seed=5, context=context(predictor, max(sizes)))
    )
    return [
        predictor.prepare_log_prob(
            LogProbRequest(x=x[:n].numpy(), context=context(predictor, n), seed=n)
        )
        for n in sizes
    ]


@pytest.mark.parametrize("sizes", [[1] * 16, [3, 1, 40, 7], [33, 64], list(range(1, 12))])
def test_a_batch_changes_no_bit(predictor, sizes):
    predictor = Predictor(predictor.flow, None)  # compares the floats, not the pixels
    batch = sample_inputs(predictor, sizes)
    together = predictor.sample_batch(batch)
    for inputs, answer in zip(batch, together, strict=True):
        assert torch.equal(answer, value_or_raise(predictor.sample_batch([inputs])[0]))
    batch = log_prob_inputs(predictor, sizes)
    for inputs, answer in zip(batch, predictor.log_prob_batch(batch), strict=True):
        assert torch.equal(
            answer.log_prob, value_or_raise(predictor.log_prob_batch([inputs])[0]).log_prob
        )


def test_a_sample_does_not_depend_on_its_place_in_the_batch(predictor):
    predictor = Predictor(predictor.flow)  # compares the floats, not the pixels
    inputs, *others = sample_inputs(predictor, [1, *[5] * 8])
    alone = predictor.sample_batch([inputs])[0]
    for place in range(len(others)):
        batch = [*others[:place], inputs, *others[place:]]
        assert torch.equal(predictor.sample_batch(batch)[place], alone)


def test_a_flow_whose_rows_depend_on_their_place_runs_them_alone(photos, monkeypatch):
    inverse = type(photos.flow).inverse

    def uneven(self, z, context=None):
        return inverse(self, z, context) + torch.arange(len(z)).view(-1, 1, 1, 1)

    monkeypatch.setattr(type(photos.flow), "inverse", uneven)
    assert photos.chunk_size > 1
    assert batching.choose_chunk_size(photos.flow) == 1


def test_samples_are_those_of_the_flow(predictor):
    request = SampleRequest(n=6, seed=3, temperature=0.7, context=context(predictor, 6))
    got = predictor.sample(request)
    given = predictor.prepare_sample(request).context
    generator = torch.Generator().manual_seed(3)
    expected = predictor.flow.sample(6, given, temperature=0.7, generator=generator)
    if predictor.bins is None:
        torch.testing.assert_close(got, expected)
        return
    assert got.dtype == torch.uint8
    assert int(got.max()) < predictor.bins
    # Rounding in the last bits may move a value that lies on the edge of a pixel.
    whole = expected.floor().clamp(0, predictor.bins - 1)
    assert (got != whole).float().mean() < 0.01


def test_seeds_decide(photos):
    first, again, other = (photos.sample(SampleRequest(n=2, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert SampleRequest().seed != SampleRequest().seed


def test_log_probs_of_floats_are_the_density_there(predictor):
    shape = predictor.flow.event_shape
    x = torch.rand(7, *shape, generator=torch.Generator().manual_seed(0)) * (predictor.bins or 1)
    request = LogProbRequest(x=x.tolist(), context=context(predictor, 7))
    result = predictor.log_prob(request)
    inputs = predictor.prepare_log_prob(request)
    assert torch.equal(inputs.x, x)
    expected = predictor.flow.log_prob(x, inputs.context)
    torch.testing.assert_close(result.log_prob, expected, rtol=1e-5, atol=1e-3)
    bits = -result.log_prob.double() / (math.prod(shape) * math.log(2))
    torch.testing.assert_close(result.bits_per_dim.double(), bits, rtol=1e-5, atol=1e-6)


def test_log_probs_are_in_nats_and_in_bits_per_dimension():
    """Against the closed form: an untrained flow is a normal density."""
    flow = build_flow(CouplingConfig(event_shape=(5,), mean=1.0, scale=2.0)).eval()
    x = torch.randn(6, 5)
    result = Predictor(flow).log_prob(LogProbRequest(x=x.numpy()))
    expected = torch.distributions.Normal(1.0, 2.0).log_prob(x).sum(1)
    torch.testing.assert_close(result.log_prob, expected)
    torch.testing.assert_close(result.bits_per_dim, -expected / (5 * math.log(2)))


def test_log_probs_of_pixels_are_those_that_are_reported(photos):
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (40, 3, 8, 8), generator=generator).to(torch.uint8)
    reported = evaluate_likelihood(photos.flow, Examples(x), 256, batch_size=7)
    for values in (x.numpy(), x.tolist(), x.numpy().astype(">i8")):
        result = photos.log_prob(LogProbRequest(x=values))
        assert result.bits_per_dim.mean().item() == pytest.approx(reported.bits_per_dim, rel=1e-6)
    noisy = photos.prepare_log_prob(LogProbRequest(x=x.numpy())).x - x
    assert 0.4 < noisy.mean() < 0.6
    other = photos.log_prob(LogProbRequest(x=x.numpy(), seed=1))
    assert not torch.equal(other.log_prob, result.log_prob)


def test_an_answer_that_is_not_finite_fails_alone(photos):
    table = Predictor(random_flow(MODELS["table"][0]))
    far = LogProbRequest(x=[[0.0] * 5, [1e30] * 5], context=[0.0, 0.0])
    near = LogProbRequest(x=[[0.0] * 5], context=[0.0, 0.0])
    bad, good = table.log_prob_batch([table.prepare_log_prob(request) for request in (far, near)])
    assert isinstance(bad, InvalidRequestError)
    assert "example 1 is too far" in str(bad)
    assert torch.isfinite(good.log_prob).all()


def test_what_is_not_finite_because_of_its_context_blames_the_context():
    table = Predictor(random_flow(MODELS["table"][0]))
    good, bad = [0.1, 0.2], [3e38, 1.0]
    for ask in (
        lambda context: table.sample(SampleRequest(n=2, seed=1, context=context)),
        lambda context: table.log_prob(LogProbRequest(x=[[0.0] * 5] * 2, context=context)),
    ):
        ask([good, good])
        with pytest.raises(InvalidRequestError, match=r"^context: with \[3.*of example 1, not"):
            ask([good, bad])
    with pytest.raises(InvalidRequestError, match=r"^x: example 0 is too far"):
        table.log_prob(LogProbRequest(x=[[1e30] * 5], context=good))
