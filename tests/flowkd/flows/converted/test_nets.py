"""New networks of converted layers: what they may depend on, and what they make at first."""

from __future__ import annotations

import pytest
import torch

from flowkd.flows.converted.nets import (
    ActivationStep,
    DenseNet,
    LinearStep,
    MaskedNet,
    ResidualStep,
    Step,
)

D, CONTEXT = 4, 2
TANH = ActivationStep(name="tanh")
BLOCK = ResidualStep(steps=(TANH, LinearStep(outputs=5), TANH, LinearStep(outputs=9)))
GATED = BLOCK.model_copy(update={"gated": True})
LAST = LinearStep(outputs=2 * D)
NETWORKS: dict[str, tuple[Step, ...]] = {
    "one layer": (LinearStep(outputs=2 * D, context=True),),
    "layers": (LinearStep(outputs=9, context=True), TANH, LinearStep(outputs=5), TANH, LAST),
    "blocks": (LinearStep(outputs=9), BLOCK, GATED, LAST),
}


@pytest.mark.parametrize("steps", NETWORKS.values(), ids=NETWORKS)
def test_of_a_new_masked_network_each_column_depends_on_all_before_it(
    steps: tuple[Step, ...],
) -> None:
    torch.manual_seed(0)
    network = MaskedNet(inputs=D, steps=steps).build(CONTEXT).double()
    context = torch.randn(CONTEXT).double()
    for parameter in network.parameters():
        parameter.data = torch.randn_like(parameter)
    jacobian = torch.autograd.functional.jacobian(
        lambda x: network(x[None], context[None])[0], torch.randn(D).double()
    )
    depends = jacobian.view(2, D, D).abs() > 1e-9
    assert torch.equal(depends, torch.ones(D, D).tril(-1).bool().expand(2, D, D))


@pytest.mark.parametrize("kind", [DenseNet, MaskedNet])
@pytest.mark.parametrize("steps", NETWORKS.values(), ids=NETWORKS)
def test_a_new_network_makes_zero_and_can_learn(
    kind: type[DenseNet | MaskedNet], steps: tuple[Step, ...]
) -> None:
    network = kind(inputs=D, steps=steps).build(CONTEXT)
    made = network(torch.randn(3, D), torch.randn(3, CONTEXT))
    assert not made.any()
    made.sum().backward()
    *_, last = network.parameters()
    assert last.grad is not None
    assert last.grad.any()
