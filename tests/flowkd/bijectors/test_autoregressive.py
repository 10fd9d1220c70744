"""Masked autoregressive maps: masks, and an inverse that computes each unit once."""

import pytest
import torch
from torch.autograd.functional import jacobian

from flowkd.bijectors import Affine, Autoregressive, Jacobi
from flowkd.bijectors.scales import ExpScale
from flowkd.nn import MADE, masked_mlp
from flowkd.nn.made import Activation, Masked, Residual
from tests.support.small_flows import randomise

SHUFFLED = [3, 0, 4, 1, 2, 5]
DEGREES = torch.arange(9) % 5 + 1  # as nflows numbers its units
COLUMNS = torch.arange(1, 7)


def of_degrees(residual):
    """As nflows builds them: the units of a level are not side by side."""
    into, within = DEGREES[:, None] >= COLUMNS, DEGREES[:, None] >= DEGREES
    out = (COLUMNS[:, None] > DEGREES).repeat(2, 1)
    first = Masked(into, 3, activation="relu", context_bias=True, kept=True)
    if not residual:
        middle = [Activation("relu"), Masked(within), Activation("relu")]
    else:
        block = [Activation("relu"), Masked(within, 3), Activation("relu"), Masked(within)]
        middle = [Residual(block, gate=(3, 9)), Residual([Masked(within), Activation("elu")])]
    return MADE([first, *middle, Masked(out)])


def of_a_graph():
    """As zuko builds them of an adjacency: columns 0 and 3 first, then 1, 2 and 4 of them, then 5.

    In its residual block the units wait for more than their inputs did.
    """
    adjacency = torch.zeros(6, 6, dtype=torch.bool)
    for column, on in {1: [0], 2: [0, 3], 4: [3], 5: [1, 4]}.items():
        adjacency[column, on] = True
    later = torch.zeros(6, 6, dtype=torch.bool)
    later[[1, 5]] = adjacency[[1, 5]]
    block = Residual([Activation("tanh"), Masked(torch.eye(6))])
    mixing = Residual([Masked(later | torch.eye(6, dtype=torch.bool)[[1, 0, 2, 3, 4, 5]] & later)])
    return MADE([Masked(adjacency, kept=True), block, mixing, Masked(torch.eye(6).repeat(2, 1))])


NETWORKS = {
    "plain": (lambda: masked_mlp(6, 12, 7), 6),
    "wide": (lambda: masked_mlp(6, 12, 13, activation="elu", hidden=3), 6),
    "narrow": (lambda: masked_mlp(6, 12, 2, activation="silu"), 3),
    "one layer": (lambda: masked_mlp(6, 12, 9, hidden=1, activation="gelu"), 6),
    "in another order": (lambda: masked_mlp(6, 12, 7, 3, order=SHUFFLED, activation="tanh"), 6),
    "residual": (
        lambda: masked_mlp(6, 12, 8, 3, hidden=3, residual=True, order=SHUFFLED),
        6,
    ),
    "as nflows": (lambda: of_degrees(residual=False), 6),
    "as nflows, residual": (lambda: of_degrees(residual=True), 6),
    "as zuko, of a graph": (of_a_graph, 3),
}


@pytest.fixture(params=NETWORKS)
def case(request):
    """A map off its start, z, a context and the number of levels."""
    build, levels = NETWORKS[request.param]
    bijector = Autoregressive(randomise(build().double(), by=0.5))
    width = next((m.context.in_features for m in bijector.modules() if _has_context(m)), 0)
    z = torch.randn(4, 6, dtype=torch.float64)
    return bijector, z, torch.randn(4, width, dtype=torch.float64) if width else None, levels


def _has_context(module):
    return isinstance(module, Masked) and module.context is not None


def naive(bijector, z, context, passes=6):
    """The inverse in as many passes as there are columns."""
    x = torch.zeros_like(z)
    for _ in range(passes):
        x, log_slope = bijector.transform.inverse(z, bijector.conditioner(x, context))
    return x, log_slope.sum(1)


def test_a_column_depends_on_those_before_it_alone(case):
    bijector, _, context, levels = case
    levels_of = torch.tensor(bijector.conditioner.levels())
    assert int(levels_of.max()) + 1 == levels
    x = 3 * torch.randn(32, 6, dtype=torch.float64)  # so that each unit's ReLU is open for some
    given = None if context is None else context[:1].expand(32, -1)
    made = jacobian(lambda x: bijector.conditioner(x, given).sum(0), x)
    depends = (made.view(-1, 6, 32, 6) != 0).any(2).any(0)
    assert not (depends & (levels_of[:, None] <= levels_of)).any()
    assert depends.any(1).equal(levels_of > 0)


def test_every_column_before_is_seen():
    order = torch.tensor(SHUFFLED)
    for residual in (False, True):
        network = randomise(
            masked_mlp(6, 12, 20, order=SHUFFLED, residual=residual, activation="elu")
        )
        x = 3 * torch.randn(32, 6)
        made = jacobian(lambda x, network=network: network(x).sum(0), x)
        assert (made.view(-1, 6, 32, 6) != 0).any(2).any(0).equal(order[:, None] > order)


def test_the_inverse_is_that_of_one_pass_a_column(case):
    bijector, z, context, levels = case
    with torch.no_grad():
        got = bijector.inverse(z, context)
    torch.testing.assert_close(got, naive(bijector, z, context), rtol=1e-12, atol=1e-12)
    assert bijector.iterations == levels


def test_each_unit_is_computed_once(case, monkeypatch):
    bijector, z, context, _ = case
    computed = []
    product = torch.addmm
    monkeypatch.setattr(
        torch, "addmm",
        lambda *given, out: computed.append(given[2].shape) or product(*given, out=out),
    )  # fmt: skip
    with torch.no_grad():
        bijector.inverse(z, context)
    shapes = [m.weight.shape for m in bijector.modules() if isinstance(m, Masked)]
    assert sum(units for _, units in computed) <= sum(units for units, _ in shapes)
    assert sum(a * b for a, b in computed) < sum(a * b for a, b in shapes)


@pytest.mark.parametrize("groups", [1, 2, 9])
def test_fixed_points_are_exact_after_as_many_iterations_as_levels(case, groups):
    bijector, z, context, levels = case
    bijector.decoding = Jacobi(tolerance=0.0, groups=groups)
    with torch.no_grad():
        got = bijector.inverse(z, context)
    torch.testing.assert_close(got, naive(bijector, z, context), rtol=1e-12, atol=1e-12)
    assert bijector.iterations <= levels


def test_fixed_points_stop_within_the_tolerance():
    bijector = Autoregressive(randomise(masked_mlp(40, 80, 64).double(), by=0.05))
    z = torch.randn(64, 40, dtype=torch.float64)
    with torch.no_grad():
        exact, log_det = bijector.inverse(z)
        taken = []
        for tolerance in (1e-2, 1e-4, 1e-8):
            bijector.decoding = Jacobi(tolerance)
            x, near = bijector.inverse(z)
            assert (x - exact).abs().max() <= 2 * tolerance
            assert (near - log_det).abs().max() <= 40 * tolerance
            taken.append(bijector.iterations)
    assert taken == sorted(set(taken))
    assert taken[-1] < 40 / 2


def test_fixed_points_are_found_of_large_weights_and_values():
    bijector = Autoregressive(randomise(masked_mlp(6, 12, 20), by=6.0))
    z = 1e3 * torch.randn(4, 6)
    with torch.no_grad():
        exact, _ = bijector.inverse(z)
        bijector.decoding = Jacobi(tolerance=0.0)
        got, _ = bijector.inverse(z)
    torch.testing.assert_close(got, exact, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("slope", "weight"), [(30.0, 1.0), (8.5, 1e3)], ids=["value", "hidden"])
def test_fixed_points_are_exact_though_values_on_the_way_overflow(slope, weight):
    """What is not exact yet may be no number in float32, and a mask times that is none either."""
    network = masked_mlp(3, 6, 2, hidden=1)
    bijector = Autoregressive(network, Affine(ExpScale()))
    first, last = network.parts[0], network.parts[-1]
    with torch.no_grad():
        first.bias.zero_()
        first.weight.copy_(torch.tensor([[1.0, 0, 0], [1.0, weight, 0]]))
        last.bias[0] = 9.9  # the shift of column 0, whose z of 10 is far from its x of 0.1
        last.weight[4, 0] = -slope  # the log-scale of column 1 is -slope times column 0
        last.weight[2, 1] = 1 / weight  # the shift of column 2
        z = torch.tensor([[10.0, 0.5, 1.0]]).expand(2, -1)
        exact = bijector.inverse(z)
        assert exact[0].isfinite().all()
        bijector.decoding = Jacobi(tolerance=0.0)
        got = bijector.inverse(z)
    torch.testing.assert_close(got, exact)
    assert bijector.iterations == 3


def test_its_gradients_are_those_of_one_pass_a_column(case):
    bijector, z, context, _ = case
    given = [value.requires_grad_() for value in (z, context) if value is not None]
    given += bijector.parameters()

    def gradients(x, log_det):
        weights = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view_as(x)
        total = (weights * x + x**2).sum() + (log_det * weights[:, 0]).sum()
        return torch.autograd.grad(total, given, allow_unused=True, materialize_grads=True)

    expected = gradients(*naive(bijector, z, context))
    got = gradients(*bijector.inverse(z, context))
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-10)


def test_masks_from_elsewhere_come_with_the_weights():
    one, other = of_degrees(residual=False), of_a_graph()
    assert "parts.0.mask" in one.state_dict()
    assert "parts.0.mask" not in masked_mlp(3, 6, 4).state_dict()
    again = MADE([Masked(torch.zeros(6, 6), kept=True), *other.parts[1:]])
    bijector = Autoregressive(again)
    bijector.inverse(torch.randn(2, 6))
    again.load_state_dict(other.state_dict())
    z = torch.randn(2, 6)
    torch.testing.assert_close(bijector.inverse(z), Autoregressive(other).inverse(z))
    assert bijector.iterations == 3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: masked_mlp(3, 6, 4, order=[0, 0, 2]), r"a permutation of 0\.\.2; got \[0, 0, 2\]"),
        (lambda: masked_mlp(3, 6, 4, order=[0, 1]), r"a permutation of 0\.\.2; got \[0, 1\]"),
        (lambda: masked_mlp(3, 6, 4, activation="sine"), "activation of relu, elu.*got 'sine'"),
        (lambda: MADE([Masked(torch.ones(2, 2))]), "no column depends on itself; got a circle"),
        (lambda: MADE([Masked(torch.zeros(3, 2))]), "a multiple of 2 outputs.*got 3"),
        (lambda: MADE([Activation("relu")]), "a Masked as the first"),
        (lambda: Jacobi(tolerance=float("nan")), "a tolerance of at least 0; got nan"),
        (lambda: Jacobi(groups=0), "at least 1 group; got 0"),
    ],
)
def test_what_cannot_be_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
