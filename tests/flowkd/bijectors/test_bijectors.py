"""The contract of every bijector: a new one is one line of the table. All in float64."""

import io

import pytest
import torch
from torch.autograd.functional import jacobian

from flowkd.bijectors import (
    ActNorm,
    Affine,
    Asinh,
    Autoregressive,
    Chain,
    Coupling,
    Elementwise,
    Inverted,
    Invertible1x1,
    Leading,
    Log,
    Logit,
    Permute,
    RationalQuadratic,
    Reversed,
    Selected,
    Squeeze,
    Standardize,
)
from flowkd.bijectors.transforms import preprocessing
from flowkd.columns import LogitTransform, LogTransform
from flowkd.flows.build import build_flow
from flowkd.nn import MLP, ConvNet, SplitPrior, masked_mlp
from flowkd.nn.dense import Beside, Constant, Dense, Layer
from flowkd.nn.made import Activation
from tests.support.small_flows import CONFIGS, randomise

ROWS = 5
LOG, LOGIT = LogTransform(), LogitTransform(low=-3.0, high=2.0)


def small_chain():
    inner = Chain({"norm": ActNorm(2), "mix": Invertible1x1(2)})
    return Chain({"permute": Permute([2, 0, 1]), "leading": Leading(inner, 2), "norm": ActNorm(3)})


def dense(inputs, outputs):
    return Dense([Layer(inputs, 6), Activation("tanh"), Layer(6, outputs)])


def level(shape_after=4):
    step = Chain({"norm": ActNorm(2), "couple": Coupling(ConvNet(1, 2, 4), 1)})
    return Chain({"squeeze": Squeeze(), "level": Leading(Chain({"step": step}), shape_after // 2)})


# What is built, the event shape of x, the width of the context.
TABLE = {
    "standardize": (lambda: Standardize(0.5, 2.0), (2, 3), 0),
    "standardize channels": (lambda: Standardize([0.5, 1.0], [2.0, 0.25]), (2, 2, 3), 0),
    "standardize columns": (lambda: Standardize([0.5, 1.0, -1.0], [2.0, 0.25, 4.0]), (3,), 0),
    "actnorm": (lambda: ActNorm(4), (4,), 0),
    "actnorm of images": (lambda: ActNorm(3), (3, 2, 2), 0),
    "invertible1x1": (lambda: Invertible1x1(5), (5,), 0),
    "invertible1x1 of images": (lambda: Invertible1x1(3), (3, 2, 2), 0),
    "permute": (lambda: Permute([2, 0, 3, 1]), (4,), 0),
    "permute images": (lambda: Permute([2, 0, 1]), (3, 2, 2), 0),
    "squeeze": (Squeeze, (2, 4, 2), 0),
    "coupling": (lambda: Coupling(MLP(2, 6, 7), 2), (5,), 0),
    "coupling of images": (lambda: Coupling(ConvNet(1, 4, 5), 1), (3, 3, 2), 0),
    "split prior": (lambda: Coupling(SplitPrior(2, 4), 2), (4, 3, 2), 0),
    "coupling | context": (lambda: Coupling(MLP(2, 6, 7, 3), 2), (5,), 3),
    "coupling of images | context": (lambda: Coupling(ConvNet(1, 4, 5, 3), 1), (3, 3, 2), 3),
    "split prior | context": (lambda: Coupling(SplitPrior(2, 4, 3), 2), (4, 3, 2), 3),
    "autoregressive": (lambda: Autoregressive(masked_mlp(5, 10, 7)), (5,), 0),
    "autoregressive, residual | context": (
        lambda: Autoregressive(masked_mlp(4, 8, 9, 3, hidden=3, residual=True, order=[2, 0, 3, 1])),
        (4,),
        3,
    ),
    "inverted": (lambda: Inverted(Autoregressive(masked_mlp(4, 8, 6, activation="elu"))), (4,), 0),
    "inverted | context": (lambda: Inverted(Coupling(MLP(2, 6, 7, 3), 2)), (5,), 3),
    "coupling by splines": (lambda: Coupling(MLP(2, 33, 7), 2, RationalQuadratic(4)), (5,), 0),
    "coupling of images by splines | context": (
        lambda: Coupling(ConvNet(1, 16, 5, 3), 1, RationalQuadratic(3)),
        (3, 3, 2),
        3,
    ),
    "coupling by reversed splines | context": (
        lambda: Coupling(MLP(2, 15, 7, 3), 2, Reversed(RationalQuadratic(2, 3.0))),
        (5,),
        3,
    ),
    "elementwise": (lambda: Elementwise(Constant(8), Affine()), (4,), 0),
    "elementwise | context": (lambda: Elementwise(dense(3, 15), RationalQuadratic(2)), (3,), 3),
    "elementwise of images | context": (lambda: Elementwise(dense(3, 4), Affine()), (2, 3, 2), 3),
    "coupling by two networks": (
        lambda: Coupling(Beside([dense(2, 3), Constant(3)]), 2, Affine()),
        (5,),
        0,
    ),
    "log": (lambda: Chain({"preprocess": Log()}), (3,), 0),
    "log of images": (lambda: Chain({"preprocess": Log()}), (2, 2, 3), 0),
    "logit": (lambda: Chain({"preprocess": Logit(-1.0, 3.0)}), (3,), 0),
    "logit of channels": (
        lambda: Chain({"preprocess": Logit([0.0, -2.0], [1.0, 5.0])}),
        (2, 2, 3),
        0,
    ),
    "asinh": (lambda: Chain({"preprocess": Asinh(1.0, 0.2)}), (3,), 0),
    "asinh of channels": (
        lambda: Chain({"preprocess": Asinh([0.0, -2.0], [1.0, 5.0])}),
        (2, 2, 3),
        0,
    ),
    "selected": (lambda: Selected(Invertible1x1(2), [2, 0]), (4, 2), 0),
    "selected | context": (lambda: Selected(Coupling(MLP(1, 2, 4, 2), 1), [3, 1]), (4,), 2),
    "preprocess": (
        lambda: Chain(
            {"preprocess": preprocessing([1.0, 2.0, 3.0], [0.5, 2.0, 1.0], [LOG, None, LOGIT])}
        ),
        (3,),
        0,
    ),
    "leading": (lambda: Leading(Invertible1x1(2), 2), (4, 2, 2), 0),
    "leading | context": (lambda: Leading(Coupling(MLP(1, 2, 4, 2), 1), 2), (4,), 2),
    "chain": (small_chain, (3,), 0),
    "level": (level, (1, 4, 4), 0),
    **{
        name: (lambda config=config: build_flow(config).chain, config.event_shape, width)
        for name, config in CONFIGS.items()
        for width in [config.context_spec.width]
    },
}


@pytest.fixture(params=TABLE)
def case(request):
    """A bijector with every parameter off its start, x around its data, and a context."""
    build, shape, width = TABLE[request.param]
    bijector = randomise(build().double())
    x = torch.randn(ROWS, *shape, dtype=torch.float64)
    context = torch.randn(ROWS, width, dtype=torch.float64) if width else None
    if isinstance(bijector, Chain) and "preprocess" in dict(bijector.items()):
        x, _ = bijector["preprocess"].inverse(x)
    return build, bijector, x, context


def row(context, i):
    return None if context is None else context[i : i + 1]


def test_inverse_undoes_forward(case):
    _, bijector, x, context = case
    z, log_det = bijector(x, context)
    again, log_det_back = bijector.inverse(z, context)
    assert z.shape == (ROWS, *bijector.output_shape(tuple(x.shape[1:])))
    torch.testing.assert_close(again, x, rtol=1e-9, atol=1e-9)
    assert log_det.shape == log_det_back.shape == (ROWS,)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-9, atol=1e-9)


def test_log_det_is_that_of_the_jacobian(case):
    _, bijector, x, context = case
    _, log_det = bijector(x, context)
    for i in range(2):
        full = jacobian(lambda part, i=i: bijector(part, row(context, i))[0], x[i : i + 1])
        expected = torch.linalg.slogdet(full.reshape(x[i].numel(), x[i].numel())).logabsdet
        torch.testing.assert_close(log_det[i], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_every_parameter_receives_a_gradient(case, direction):
    _, bijector, x, context = case
    given = x if direction == "forward" else bijector(x, context)[0].detach()
    value, log_det = getattr(bijector, direction)(given.clone().requires_grad_(), context)
    (value * torch.randn_like(value)).sum().add(log_det.sum()).backward()
    learning = {n: p.grad is not None and p.grad.any() for n, p in bijector.named_parameters()}
    assert all(learning.values()), learning


def test_arguments_are_never_changed(case):
    _, bijector, x, context = case
    given = [x, bijector(x, context)[0].detach().clone(), *([] if context is None else [context])]
    before = [value.clone() for value in given]
    bijector(x, context)
    bijector.inverse(given[1], context)
    bijector.record(x, context, [])
    bijector.initialize(x, context)
    assert all(torch.equal(*pair) for pair in zip(given, before, strict=True))


def test_a_row_depends_on_itself_alone(case):
    _, bijector, x, context = case
    z, log_det = bijector(x, context)
    back, log_det_back = bijector.inverse(z, context)
    for i in range(ROWS):
        alone = bijector(x[i : i + 1], row(context, i))
        alone_back = bijector.inverse(z[i : i + 1], row(context, i))
        together = (z[i : i + 1], log_det[i : i + 1])
        together_back = (back[i : i + 1], log_det_back[i : i + 1])
        torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(alone_back, together_back, rtol=1e-12, atol=1e-12)


def test_train_and_eval_mode_are_the_same(case):
    _, bijector, x, context = case
    expected = bijector.train()(x, context)
    assert all(map(torch.equal, expected, bijector.eval()(x, context)))


def test_saved_and_loaded_it_gives_the_same(case):
    build, bijector, x, context = case
    file = io.BytesIO()
    torch.save(bijector.state_dict(), file)
    file.seek(0)
    loaded = randomise(build().double(), seed=1)
    if list(bijector.parameters()):
        assert not torch.equal(loaded(x, context)[0], bijector(x, context)[0])
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert all(map(torch.equal, bijector(x, context), loaded(x, context)))
    z, _ = bijector(x, context)
    assert all(map(torch.equal, bijector.inverse(z, context), loaded.inverse(z, context)))


def test_initialize_makes_every_actnorm_normal(case):
    build, _, x, context = case
    bijector = build().double()
    # In standard units: a column that goes through a logarithm has no other values.
    first = dict(bijector.items()).get("preprocess") if isinstance(bijector, Chain) else None
    x = 7.0 + 3.0 * x if first is None else first.inverse(7.0 + 3.0 * first(x)[0])[0]
    bijector.initialize(x, context)
    made = [(bijector, bijector(x, context)[0])]
    if isinstance(bijector, Chain):
        taps = [name for name, _ in bijector.taps(tuple(x.shape[1:]))]
        states = bijector.record(x, context, taps)[2]
        made = [(bijector[name], states[name].h) for name in taps]
    made = [(norm, z) for norm, z in made if isinstance(norm, ActNorm)]
    assert len(made) == sum(isinstance(module, ActNorm) for module in bijector.modules())
    for norm, z in made:
        per_channel = z[:, : len(norm.bias)].transpose(0, 1).flatten(1)
        zeros, ones = torch.zeros(len(per_channel)).double(), torch.ones(len(per_channel)).double()
        torch.testing.assert_close(per_channel.mean(1), zeros, rtol=0, atol=1e-6)
        torch.testing.assert_close(per_channel.std(1), ones, rtol=0, atol=1e-4)


def test_states_are_recorded_as_declared(case):
    _, bijector, x, context = case
    declared = dict(bijector.taps(tuple(x.shape[1:])))
    z, log_det, states = bijector.record(x, context, list(declared))
    without = bijector(x, context)
    assert torch.equal(z, without[0])
    torch.testing.assert_close(log_det, without[1], rtol=1e-12, atol=1e-12)
    assert set(states) == set(declared)
    parameters = list(bijector.parameters())
    for name, (state, _) in states.items():
        assert state.shape == (ROWS, *declared[name].shape), name
        used = 0
        if state.requires_grad:
            weighted = (state * torch.randn_like(state)).sum()
            grads = torch.autograd.grad(weighted, parameters, retain_graph=True, allow_unused=True)
            used = sum(grad.numel() for grad in grads if grad is not None and grad.any())
        assert used == declared[name].parameters, name
    if declared:
        assert torch.equal(states[list(declared)[-1]].h, z)
        assert torch.equal(states[list(declared)[-1]].log_det, log_det)
    assert bijector.record(x, context, [])[2] == {}


def test_a_new_coupling_is_the_identity():
    for coupling, shape in (
        (Coupling(MLP(2, 4, 8), 2), (4,)),
        (Coupling(ConvNet(2, 4, 8), 2), (4, 2, 2)),
        (Coupling(SplitPrior(2, 4), 2), (4, 2, 2)),
        (Autoregressive(masked_mlp(4, 8, 8, residual=True)), (4,)),
        (Coupling(MLP(2, 46, 8), 2, RationalQuadratic()), (4,)),
    ):
        x = torch.randn(3, *shape)
        z, log_det = coupling(x)
        assert torch.equal(z, x)
        assert not log_det.any()


@pytest.mark.parametrize("bad", [-1.0, 0.0, 5.0, 6.0])
def test_what_is_outside_of_a_bounded_column_has_no_density_and_harms_no_other_row(bad):
    """-inf rather than NaN: the log-density of what cannot be, in one row alone, with gradients."""
    bijector = Logit(0.0, 5.0).double() if bad >= 5 else Log()
    x = torch.tensor([[1.0, 2.0], [1.0, bad], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    z, log_det = bijector(x)
    assert z.isfinite().all()
    assert log_det.isfinite().tolist() == [True, False, True]
    assert log_det[1] == -torch.inf
    log_det[[0, 2]].sum().backward()
    assert x.grad.isfinite().all()


def test_a_logit_never_gives_its_bounds():
    bijector = Logit(0.0, 100.0)
    x, _ = bijector.inverse(torch.tensor([[-200.0], [-20.0], [20.0], [200.0]]))
    assert bool(((x > 0) & (x < 100)).all())
    assert bijector(x)[1].isfinite().all()


def test_an_asinh_takes_any_number():
    bijector = Asinh(3.0, 1e-3)
    x = torch.tensor([[-1e18], [-5.0], [3.0], [3.001], [1e18]], requires_grad=True)
    z, log_det = bijector(x)
    log_det.sum().backward()
    assert x.grad.isfinite().all()
    assert z.abs().max() < 60
    again, back = bijector.inverse(z)
    torch.testing.assert_close(again, x, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(back, -log_det)


def test_invertible1x1_takes_any_matrix():
    weight = torch.randn(4, 4, dtype=torch.float64)
    bijector = Invertible1x1(4).double()
    bijector.set_weight(weight)
    torch.testing.assert_close(bijector.weight(), weight)
    torch.testing.assert_close(bijector.inverse_weight(), torch.linalg.inv(weight))
    torch.testing.assert_close(Invertible1x1(6).weight().det().abs().item(), 1.0)


def test_a_chain_finds_what_lies_on_a_path():
    chain = level()
    assert isinstance(chain["level.step.norm"], ActNorm)
    assert chain["level"] is dict(chain.items())["level"]
    with pytest.raises(KeyError, match=r"no bijector 'nothing' on the path 'level\.nothing\.norm'"):
        chain["level.nothing.norm"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Chain({}), "at least one bijector"),
        (lambda: Permute([0, 0, 1]), r"a permutation of 0\.\.2; got \[0, 0, 1\]"),
        (lambda: Standardize(0.0, [1.0, 0.0]), r"a positive scale; got \[1\.0, 0\.0\]"),
        (lambda: Standardize(0.0, float("nan")), "a positive scale; got nan"),
        (lambda: Logit(1.0, 1.0), r"low below high in float32; got 1\.0 and 1\.0"),
        (lambda: Logit(1e9, 1e9 + 1), "low below high in float32"),
        (lambda: Asinh([1.0, 0.0], [1.0, 0.0]), r"a scale above 0 in float32; got \[1\.0, 0\.0\]"),
        (lambda: LogitTransform(low=2.0, high=1.0), "low below high; got 2.0 and 1.0"),
        (lambda: Squeeze().output_shape((3, 4, 5)), r"even height and width.*got \(3, 4, 5\)"),
        (lambda: ActNorm(2).initialize(torch.zeros(1, 2)), "at least 2 values a channel"),
        (lambda: Invertible1x1(2).set_weight(torch.ones(2, 2)), "a singular one"),
        (lambda: Invertible1x1(2).set_weight(torch.eye(3)), r"W of \(2, 2\); got \(3, 3\)"),
    ],
)
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
