"""Properties of a flow: a density in data units, honest samples, refused input. In float64."""

import math

import pytest
import torch

from flowkd.bijectors import Chain, Invertible1x1, Leading, Standardize
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow, count_parameters
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.flow import Flow, standard_normal_log_prob
from flowkd.flows.glow import GlowConfig
from tests.support.small_flows import CONFIGS, randomise, small_batch, small_flow


@pytest.fixture(params=CONFIGS)
def flow(request):
    return small_flow(request.param)


def plane(family=CouplingConfig, **options):
    config = family(event_shape=(2,), mean=(3.0, -1.0), scale=2.0, **options)
    flow = build_flow(config.model_copy(update={"depth": 3, "width": 8})).double()
    return randomise(flow, by=0.3)


@pytest.mark.parametrize(
    ("options", "context"),
    [
        ({}, None),
        ({"classes": 2}, 0),
        ({"classes": 2}, 1),
        ({"family": AutoregressiveConfig, "transform": "affine", "blocks": 1}, None),
        (
            {
                "family": AutoregressiveConfig,
                "transform": "affine",
                "classes": 2,
                "direction": "sampling",
            },
            1,
        ),
    ],
)
@torch.no_grad()
def test_a_density_integrates_to_one(options, context):
    flow = plane(**options)

    def given(rows):
        return None if context is None else torch.full((rows,), context)

    drawn = flow.sample(2000, given(2000))
    low, high = drawn.min(0).values, drawn.max(0).values
    margin = 0.75 * (high - low)
    sides = [
        torch.linspace(*ends, 500).double()
        for ends in zip(low - margin, high + margin, strict=True)
    ]
    points = torch.cartesian_prod(*sides)
    cell = math.prod((side[1] - side[0]).item() for side in sides)
    density = flow.log_prob(points, given(len(points))).exp()
    assert density.max() > 2 * density.mean()
    assert density.sum().item() * cell == pytest.approx(1, abs=1e-3)


def gaussian():
    """A flow that is a normal distribution, and that distribution."""
    mean, scale = [1.0, -2.0, 0.5], [2.0, 0.25, 1.5]
    mix = Invertible1x1(3)
    chain = Chain({"preprocess": Standardize(mean, scale), "mix": randomise(mix)})
    flow = Flow(chain, (3,)).double()
    from_noise = torch.diag(torch.tensor(scale).double()) @ torch.linalg.inv(mix.weight().detach())
    normal = torch.distributions.MultivariateNormal(
        torch.tensor(mean).double(), covariance_matrix=from_noise @ from_noise.T
    )
    return flow, normal


def test_log_prob_is_that_of_the_closed_form():
    flow, normal = gaussian()
    x = normal.sample((50,))
    torch.testing.assert_close(flow.log_prob(x), normal.log_prob(x), rtol=1e-10, atol=1e-10)


def test_samples_are_of_the_closed_form():
    flow, normal = gaussian()
    for temperature in (1.0, 0.5):
        drawn = flow.sample(40_000, temperature=temperature).detach()
        spread = normal.covariance_matrix * temperature**2
        unit = spread.diagonal().sqrt()
        assert ((drawn.mean(0) - normal.mean) / unit).abs().max() < 0.02
        assert ((drawn.T.cov() - spread) / (unit[:, None] * unit)).abs().max() < 0.03


def test_inverse_undoes_the_encoding(flow):
    x, context = small_batch(flow)
    torch.testing.assert_close(flow.inverse(flow(x, context).z, context), x, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_the_generator_alone_decides_what_is_drawn(flow):
    _, context = small_batch(flow)
    before = torch.get_rng_state()

    def draw(seed, temperature=1.0):
        generator = torch.Generator().manual_seed(seed)
        return flow.sample(6, context, temperature=temperature, generator=generator)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    assert torch.equal(torch.get_rng_state(), before)
    encoded = flow(draw(1), context).z
    cool = flow(draw(1, temperature=0.7), context).z
    torch.testing.assert_close(cool, 0.7 * encoded, rtol=1e-6, atol=1e-6)
    still = flow.inverse(torch.zeros(6, *flow.latent_shape).double(), context)
    assert torch.equal(draw(3, temperature=0.0), still)


def test_the_state_never_changes_size(flow):
    assert math.prod(flow.latent_shape) == flow.dimensions
    assert all(math.prod(tap.shape) == flow.dimensions for tap in flow.taps.values())


def test_hints_are_the_states_of_a_manual_composition(flow):
    x, context = small_batch(flow)
    seen = context
    if flow.context.classes:
        seen = torch.eye(flow.context.classes).double()[context]
    elif flow.context.size:
        seen = (context - flow.context_units.mean) / flow.context_units.scale
    state, expected = x, {}
    for name, part in flow.chain.items():
        wrapped = isinstance(part, Leading)
        inner, rest = (
            (part.bijector, state[:, part.channels :]) if wrapped else (part, state[:, :0])
        )
        state = state[:, : part.channels] if wrapped else state
        if isinstance(inner, Chain):
            for step, step_part in inner.items():
                leaves = step_part.items() if isinstance(step_part, Chain) else [(None, step_part)]
                for leaf, bijector in leaves:
                    state, _ = bijector(state, seen)
                    if leaf:
                        expected[f"{name}.{step}.{leaf}"] = torch.cat([state, rest], 1)
                expected[f"{name}.{step}"] = torch.cat([state, rest], 1)
        else:
            state, _ = inner(state, seen)
        if wrapped:
            state = torch.cat([state, rest], 1)
        expected[name] = state
    found = flow(x, context, list(flow.taps)).states
    assert list(found) == list(flow.taps)
    assert set(found) == set(expected)
    for name, value in found.items():
        torch.testing.assert_close(value.h, expected[name], msg=lambda m, name=name: name + m)
    assert found[name].log_det.shape == (len(x),)
    base = standard_normal_log_prob(found[name].h)
    torch.testing.assert_close(base + found[name].log_det, flow.log_prob(x, context))
    some = list(flow.taps)[3:5]
    assert set(flow(x, context, some).states) == set(some)


@pytest.mark.parametrize(
    ("name", "context", "message"),
    [
        (
            "coupling of classes",
            None,
            r"expected a context of int64 classes \(B,\) below 3; got none",
        ),
        ("coupling of a vector", None, r"expected a context of float vectors \(B, 2\); got none"),
        ("coupling", torch.zeros(6).long(), r"expected no context; got torch.int64 \(6,\)"),
        ("coupling of classes", torch.tensor([0, 1, 2, 3, 0, 0]), r"below 3; got 0\.\.3"),
        ("coupling of classes", torch.tensor([0, 1, 2, -1, 0, 0]), r"below 3; got -1\.\.2"),
        ("coupling of classes", torch.zeros(6), r"below 3; got torch.float32 \(6,\)"),
        ("coupling of classes", torch.zeros(6).int(), r"below 3; got torch.int32 \(6,\)"),
        ("coupling of classes", torch.zeros(5).long(), r"got torch.int64 \(5,\) for 6 examples"),
        ("coupling of classes", torch.zeros(6, 1).long(), r"got torch.int64 \(6, 1\)"),
        ("coupling of a vector", torch.zeros(6, 3), r"\(B, 2\); got torch.float32 \(6, 3\)"),
        ("coupling of a vector", torch.zeros(1, 2), r"\(1, 2\) for 6 examples"),
        ("coupling of a vector", torch.zeros(6, 2).long(), r"float vectors.*got torch.int64"),
    ],
)
def test_another_context_is_refused(name, context, message):
    flow = small_flow(name)
    x, _ = small_batch(flow)
    z = torch.zeros(6, *flow.latent_shape).double()
    calls = (
        lambda: flow.log_prob(x, context),
        lambda: flow.inverse(z, context),
        lambda: flow.sample(6, context),
        lambda: flow.initialize(x, context),
    )
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 1, 4, 5).double(), r"x of event shape \(1, 4, 4\); got \(1, 4, 5\)"),
        (torch.zeros(1, 4, 4).double(), r"x of event shape \(1, 4, 4\); got \(4, 4\)"),
        (
            torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
            "x of the flow's dtype torch.float64; got torch.uint8",
        ),
        (torch.zeros(2, 1, 4, 4), "x of the flow's dtype torch.float64; got torch.float32"),
        (torch.zeros(0, 1, 4, 4).double(), "at least one row of x; got none"),
    ],
)
def test_other_data_are_refused(x, message):
    flow = small_flow("glow")
    for call in (flow, flow.log_prob, flow.initialize):
        with pytest.raises(ValueError, match=message):
            call(x)


def test_other_latents_are_refused():
    with pytest.raises(ValueError, match=r"z of event shape \(16, 1, 1\); got \(1, 4, 4\)"):
        small_flow("glow").inverse(torch.zeros(2, 1, 4, 4).double())


def test_an_unknown_tap_is_answered_with_the_valid_ones():
    flow = small_flow("coupling")
    x, _ = small_batch(flow)
    valid = ", ".join(flow.taps)
    assert valid.startswith("preprocess, step0.actnorm, step0.mix, step0.coupling, step0, step1.")
    with pytest.raises(ValueError, match=f"unknown tap 'step7'; valid taps are {valid}$"):
        flow(x, taps=["step0", "step7"])


def test_a_config_and_a_seed_make_a_flow():
    before = torch.get_rng_state()
    config = CONFIGS["glow"]
    one, again, other = (build_flow(config, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), before)


def test_glow_has_the_size_that_is_published():
    # 44.15 million parameters for K = 32 steps of width 512; a level's size is linear in K.
    config = GlowConfig(event_shape=(3, 32, 32), mean=128.0, scale=256.0, depth=2, width=512)
    assert count_parameters(build_flow(config)) == pytest.approx(44.15e6 * 2 / 32, rel=0.01)


def test_an_open_config_is_refused():
    with pytest.raises(ValueError, match="complete flow config; got none for mean, scale"):
        build_flow(CouplingConfig(event_shape=(3,)))
    with pytest.raises(ValueError, match=r"divisible by 2\^levels = 8; got \(3, 12, 12\)"):
        GlowConfig(event_shape=(3, 12, 12))
    with pytest.raises(ValueError, match=r"event_shape \(D,\) with D of at least 2; got \(1,\)"):
        CouplingConfig(event_shape=(1,))
    with pytest.raises(ValueError, match="expected classes or context_size; got both"):
        CouplingConfig(classes=2, context_size=2)
