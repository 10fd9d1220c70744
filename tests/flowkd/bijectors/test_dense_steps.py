"""Dense couplings as one operation: the numbers and gradients of the bijectors one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import flowkd
from flowkd.bijectors import Autoregressive, Coupling
from flowkd.bijectors.plan import DenseRun, joined
from flowkd.flows.flow import Flow

D, ROWS = 5, 7
FLOWS = {
    "linear": {},
    "reverse": {"mix": "reverse"},
    "order": {"mix": "reverse", "order": (2, 0, 1, 4, 3)},
    "context": {"context_size": 2},
    "classes": {"classes": 3, "mix": "reverse"},
    "autoregressive": {"kind": "autoregressive"},
    "autoregressive, order": {"kind": "autoregressive", "mix": "reverse", "order": (2, 0, 1, 4, 3)},
    "autoregressive, context": {"kind": "autoregressive", "context_size": 2},
}
SAMPLING = {"kind": "autoregressive", "direction": "sampling"}
BACK = {
    **{name: fields for name, fields in FLOWS.items() if "kind" not in fields},
    "sampling": SAMPLING,
    "sampling, reverse": {**SAMPLING, "mix": "reverse"},
    "sampling, context": {**SAMPLING, "mix": "reverse", "context_size": 2},
}


def built(kind: str = "coupling", **fields: object) -> Flow:
    shared = {"depth": 3, "width": 6, "mean": 0.0, "scale": 1.0}
    if kind == "autoregressive":
        fields["transform"] = "affine"
    flow = getattr(flowkd, kind)(D, **shared, **fields).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for value in flow.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype))
    return flow


def given(flow: Flow) -> tuple[Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(ROWS, D, generator=generator, dtype=torch.float64).requires_grad_()
    if flow.context.classes:
        return x, torch.arange(ROWS) % 3
    if flow.context.width:
        return x, torch.randn(ROWS, 2, generator=generator, dtype=torch.float64)
    return x, None


def one_by_one(flow: Flow) -> Flow:
    """A hook on a map asks for its being called itself."""
    for module in flow.modules():
        if isinstance(module, Coupling | Autoregressive):
            module.register_forward_hook(lambda *_: None)
    return flow


def runs(flow: Flow, taps: tuple[str, ...] = (), *, inverse: bool = False) -> list[int]:
    """Returns of how many steps the runs are."""
    plan = joined(flow.chain.leaves(), torch.zeros(1, D), taps, inverse=inverse)
    return [len(part.steps) for _, part in plan if isinstance(part, DenseRun)]


def gradients(flow: Flow, taps: tuple[str, ...] = ()) -> list[Tensor | None]:
    x, context = given(flow)
    encoding = flow(x, context, taps)
    states = [value for tap in taps for value in encoding.states[tap]]
    made = [encoding.z, encoding.log_prob, *states]
    loss = sum((value * (1 + torch.arange(value.numel()).view_as(value))).sum() for value in made)
    loss.backward()
    return [*(value.detach() for value in made), x.grad, *(p.grad for p in flow.parameters())]


@pytest.mark.parametrize("fields", FLOWS.values(), ids=FLOWS)
@pytest.mark.parametrize("taps", [(), ("step1",), ("step0.actnorm", "step1")])
def test_numbers_and_gradients_are_those_of_the_bijectors_one_by_one(
    fields: dict[str, object], taps: tuple[str, ...]
) -> None:
    flow, plain = built(**fields), one_by_one(built(**fields))
    assert sum(runs(flow, taps)) >= 2
    assert not runs(plain, taps)
    for found, expected in zip(gradients(flow, taps), gradients(plain, taps), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("fields", BACK.values(), ids=BACK)
@pytest.mark.parametrize("taps", [(), ("step1",), ("step0.actnorm", "step1")])
def test_the_way_back_has_the_numbers_of_the_bijectors_one_by_one(
    fields: dict[str, object], taps: tuple[str, ...]
) -> None:
    flow, plain = built(**fields), one_by_one(built(**fields))
    assert sum(runs(flow, taps, inverse=True)) == 3
    assert not runs(plain, taps, inverse=True)
    z, context = given(flow)

    def made(each: Flow) -> tuple[object, list[Tensor]]:
        x, log_det, states = each.chain.record_inverse(z, each.encode_context(context, z), taps)
        loss = (x * torch.arange(x.numel()).view_as(x)).sum() + log_det.square().sum()
        return (x, log_det, states), list(torch.autograd.grad(loss, [z, *each.parameters()]))

    (found, gradients), (expected, others) = made(flow), made(plain)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients, others, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        assert torch.equal(flow.chain.inverse(z, flow.encode_context(context, z))[0], found[0])


def test_without_taps_all_steps_are_one_run() -> None:
    assert runs(built()) == runs(built(mix="reverse")) == runs(built("autoregressive")) == [3]
    assert runs(built(), ("step0",)) == [1, 2]
    assert runs(built(mix="reverse"), inverse=True) == [3]
    assert runs(built(**SAMPLING)) == runs(built("autoregressive"), inverse=True) == []


@pytest.mark.parametrize("fields", FLOWS.values(), ids=FLOWS)
def test_gradients_of_gradients(fields: dict[str, object]) -> None:
    def second(flow: Flow) -> list[Tensor]:
        x, context = given(flow)
        (score,) = torch.autograd.grad(flow.log_prob(x, context).sum(), x, create_graph=True)
        wanted = [x, *(value for value in flow.parameters() if value.dim() == 2)]
        return list(torch.autograd.grad(score.square().sum(), wanted))

    for found, expected in zip(
        second(built(**fields)), second(one_by_one(built(**fields))), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_what_is_frozen_has_no_gradient_and_the_others_the_same() -> None:
    every = [name for name, _ in built(mix="reverse").named_parameters()]
    for part in range(3):
        flow, plain = built(mix="reverse"), one_by_one(built(mix="reverse"))
        for each in (flow, plain):
            for name in every[part::3]:
                each.get_parameter(name).requires_grad_(False)
        for found, expected in zip(gradients(flow), gradients(plain), strict=True):
            assert (found is None) == (expected is None)
            if expected is not None:
                torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_layers_that_somebody_changed_are_called_themselves() -> None:
    flow = built()
    network = flow.chain["step1.coupling"].conditioner
    network.middle = nn.Sequential(network.middle, nn.Tanh())
    assert runs(flow) == [1, 1]
    x, _ = given(flow)
    before = flow.log_prob(x)
    with torch.no_grad():
        network.middle[0].bias.add_(1.0)
    assert not torch.equal(before, flow.log_prob(x))
    nn.utils.parametrizations.weight_norm(flow.chain["step0.coupling"].conditioner.first)
    assert runs(flow) == [1]


def test_the_transforms_of_torch_func_see_each_operation() -> None:
    flow = built()
    x, _ = given(flow)
    each = torch.func.vmap(torch.func.grad(lambda row: flow.log_prob(row[None]).sum()))(x.detach())
    (expected,) = torch.autograd.grad(flow.log_prob(x).sum(), x)
    torch.testing.assert_close(each, expected)


def test_an_order_that_was_loaded_is_the_one_that_is_used() -> None:
    flow, other = built(mix="reverse"), built(mix="reverse", order=(2, 0, 1, 4, 3))
    x, _ = given(flow)
    assert not torch.allclose(flow.log_prob(x), other.log_prob(x))
    flow.load_state_dict(other.state_dict())
    torch.testing.assert_close(flow.log_prob(x), other.log_prob(x))
