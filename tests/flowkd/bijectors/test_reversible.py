"""The reversible backward pass: the gradients of the ordinary one, from the result alone."""

import pytest
import torch

from flowkd.bijectors import ActNorm, Chain, Invertible1x1
from flowkd.flows.build import build_flow
from flowkd.flows.glow import GlowConfig
from tests.flowkd.bijectors.test_bijectors import ROWS, TABLE
from tests.support.small_flows import CONFIGS, randomise, small_batch, small_flow


def close(ours, others):
    """Within 1e-5 of the largest value of all, in float32."""
    largest = max(float(each.abs().max()) for each in others if each.numel())
    for one, other in zip(ours, others, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * largest)


def learn(bijector, reversible, given, context, direction, taps=()):
    """Values, log-determinants, states, and the gradients of all that can have one."""
    for module in bijector.modules():
        if isinstance(module, Chain):
            module.reversible = reversible
    bijector.zero_grad()
    given = given.clone().requires_grad_()
    context = None if context is None else context.clone().requires_grad_()
    states = {}
    if direction == "forward":
        value, log_det, states = bijector.record(given, context, taps)
    else:
        value, log_det = bijector.inverse(given, context)
    generator = torch.Generator().manual_seed(1)
    total = torch.randn(len(log_det), generator=generator) @ log_det
    made = [value, log_det]
    for state in (value, *(state.h for state in states.values())):
        total = total + (state * torch.randn(state.shape, generator=generator)).sum()
    for state in states.values():
        total = total + state.log_det.square().sum()
        made += state
    total.backward()
    learnt = [given, *([] if context is None else [context]), *bijector.parameters()]
    return [each.detach() for each in made], [each.grad for each in learnt]


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("name", TABLE)
def test_gradients_are_the_ordinary_ones(name, direction):
    torch.manual_seed(0)
    build, shape, width = TABLE[name]
    bijector = randomise(Chain({"inner": build()}), by=0.1)
    x = torch.randn(ROWS, *shape)
    context = torch.randn(ROWS, width) if width else None
    inner = dict(bijector["inner"].items()) if isinstance(bijector["inner"], Chain) else {}
    if "preprocess" in inner:
        x = inner["preprocess"].inverse(x)[0]
    given = x if direction == "forward" else bijector(x, context)[0].detach()
    taps = list(dict(bijector.taps(shape)))
    for recorded in ((), taps) if direction == "forward" else ((),):
        made, grads = learn(bijector, True, given, context, direction, recorded)
        expected, ordinary = learn(bijector, False, given, context, direction, recorded)
        close(made, expected)
        close(grads, ordinary)


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_is_kept_but_where_channels_part(name):
    """What a graph keeps besides parameters is the same for a chain of twice the steps."""

    def kept(depth, reversible):
        config = CONFIGS[name]
        depth = depth if isinstance(config.depth, int) else (depth,) * len(config.depth)
        flow = randomise(build_flow(config.model_copy(update={"depth": depth})), by=0.1)
        flow.reversible = reversible
        x, context = small_batch(flow, dtype=torch.float32)
        own = {value.data_ptr() for value in flow.state_dict().values()}
        sizes = {}

        def note(tensor):
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            encoding = flow(x, context)
        assert encoding.log_prob.requires_grad
        return sum(sizes.values())

    assert kept(6, True) == kept(2, True)
    assert kept(6, False) > 2 * kept(2, False)


def test_a_value_that_has_no_density_is_no_obstacle():
    """A logarithm has no inverse for it: that part goes the ordinary way."""
    flow = small_flow("coupling, transformed", dtype=torch.float32)
    x, _ = small_batch(flow, dtype=torch.float32)
    x[1, 0] = -1.0
    grads = []
    for reversible in (True, False):
        flow.reversible = reversible
        flow.zero_grad()
        log_prob = flow.log_prob(x)
        assert log_prob.isfinite().tolist() == [row != 1 for row in range(len(x))]
        log_prob[2:].sum().backward()
        grads.append([value.grad for value in flow.parameters()])
    close(*grads)


def test_gradients_stay_exact_at_64_steps():
    torch.manual_seed(0)
    config = GlowConfig(event_shape=(3, 4, 4), levels=1, depth=64, width=8, mean=128.0, scale=256.0)
    flow = build_flow(config)
    x = 256 * torch.rand(4, 3, 4, 4)
    flow.initialize(x)
    randomise(flow, by=0.01)
    grads = []
    for reversible in (True, False):
        flow.reversible = reversible
        flow.zero_grad()
        (-flow.log_prob(x).mean() / flow.dimensions).backward()
        grads.append(torch.cat([value.grad.flatten() for value in flow.parameters()]))
        back = flow.inverse(flow(x).z)
        assert (back - x).abs().max() < 256 * 1e-4
    ours, exact = grads
    assert (ours - exact).norm() < 1e-5 * exact.norm()


def test_rounding_does_not_grow_over_the_whole_depth():
    """A badly conditioned chain: retraced in one go, its gradients would be off by 100 times."""
    torch.manual_seed(0)
    steps = {f"step{number}": [ActNorm(4), Invertible1x1(4)] for number in range(64)}
    chain = Chain(
        {name: Chain(dict(zip(("norm", "mix"), pair, strict=True))) for name, pair in steps.items()}
    )
    x = torch.randn(16, 4)
    randomise(chain, by=0.4).initialize(x)
    ours, ordinary = (learn(chain, way, x, None, "forward")[1] for way in (True, False))
    ours, ordinary = (torch.cat([each.flatten() for each in grads]) for grads in (ours, ordinary))
    assert (ours - ordinary).norm() < 1e-3 * ordinary.norm()
