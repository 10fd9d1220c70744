"""A folded student: its teacher, where nothing is lost, and better than chance elsewhere."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from flowkd.bijectors import AffineCoupling
from flowkd.build import CouplingConfig, GlowConfig, build_flow
from flowkd.conditioners import MLP, ConvNet
from flowkd.flow import Flow
from flowkd.objectives import MaximumLikelihood
from flowkd.warmstart import fold

GLOW = GlowConfig(event_shape=(1, 8, 8), mean=0.0, scale=1.0, levels=2, steps=4, width=16)
TABLE = CouplingConfig(event_shape=(5,), mean=0.0, scale=1.0, steps=4, width=16)
CONFIGS = {
    "glow": GLOW,
    "glow of classes": GLOW.model_copy(update={"classes": 3}),
    "table": TABLE,
    "table with a vector": TABLE.model_copy(update={"context_size": 2}),
}
ROWS = 300
SMALLER = [{"steps": 2}, {"width": 8}, {"steps": 2, "width": 8}]


def data(config: GlowConfig | CouplingConfig) -> tuple[Tensor, Tensor | None]:
    """Correlated, skewed data, so that there is something to learn."""
    noise = torch.randn(ROWS, *config.event_shape).cumsum(-1)
    context = None
    if config.classes:
        context = torch.randint(config.classes, (ROWS,))
    elif config.context_size:
        context = torch.randn(ROWS, config.context_size)
    return 0.5 * noise + 0.1 * noise.square(), context


def trained(config: GlowConfig | CouplingConfig, x: Tensor, context: Tensor | None) -> Flow:
    """A teacher after some steps of maximum likelihood."""
    flow = build_flow(config)
    flow.initialize(x, context)
    objective = MaximumLikelihood(flow)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        objective(x, context).total.backward()
        optimizer.step()
    return flow.requires_grad_(False)


def likelihood(flow: Flow, x: Tensor, context: Tensor | None) -> float:
    with torch.no_grad():
        return flow.log_prob(x, context).mean().item() / flow.dimensions


def couplings(flow: Flow) -> list[AffineCoupling]:
    modules = [module for module in flow.modules() if isinstance(module, AffineCoupling)]
    return [module for module in modules if isinstance(module.conditioner, ConvNet | MLP)]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("smaller", SMALLER, ids=str)
def test_a_folded_student_begins_nearer_to_its_teacher_than_a_new_one(
    name: str, smaller: dict[str, int]
) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    teacher = trained(config, x, context)
    small = config.model_copy(update=smaller)
    student = build_flow(small, seed=1)
    student.initialize(x, context)
    new = likelihood(student, x, context)
    before = copy.deepcopy(teacher.state_dict())

    fold(student, small, teacher, config, x, context)

    best = likelihood(teacher, x, context)
    assert new < likelihood(student, x, context) <= best + 0.01
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key]), "the teacher is only read"
    again = build_flow(small, seed=2)
    fold(again, small, teacher, config, x, context)
    for key, value in student.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), "it depends on the teacher and x alone"


@pytest.mark.parametrize("name", CONFIGS)
def test_a_student_of_the_teachers_size_is_the_teacher(name: str) -> None:
    x, context = data(CONFIGS[name])
    teacher = trained(CONFIGS[name], x, context)
    student = build_flow(CONFIGS[name], seed=1)
    fold(student, CONFIGS[name], teacher, CONFIGS[name], x, context)
    assert torch.equal(student.log_prob(x, context), teacher.log_prob(x, context))


@pytest.mark.parametrize("name", CONFIGS)
def test_steps_that_are_linear_are_folded_away_without_loss(name: str) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    teacher = trained(config, x, context)
    # Half of the couplings become the identity; the rest of their steps is linear anyway.
    with torch.no_grad():
        for coupling in couplings(teacher)[::2]:
            coupling.conditioner.last.weight.zero_()
            coupling.conditioner.last.bias.zero_()
    small = config.model_copy(update={"steps": 2})
    student = build_flow(small, seed=1)
    fold(student, small, teacher, config, x, context)
    assert likelihood(student, x, context) == pytest.approx(
        likelihood(teacher, x, context), abs=2e-3
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_hidden_units_that_say_the_same_are_folded_without_loss(name: str) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    teacher = trained(config, x, context)
    with torch.no_grad():
        for coupling in couplings(teacher):
            for layer in (coupling.conditioner.first, coupling.conditioner.middle):
                layer.weight[8:] = layer.weight[:8]
                layer.bias[8:] = layer.bias[:8]
            if coupling.conditioner.context is not None:
                coupling.conditioner.context.weight[8:] = coupling.conditioner.context.weight[:8]
    small = config.model_copy(update={"width": 8})
    student = build_flow(small, seed=1)
    fold(student, small, teacher, config, x, context)
    assert likelihood(student, x, context) == pytest.approx(
        likelihood(teacher, x, context), abs=2e-3
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 5}, "at most the teacher's steps, 4; got 5"),
        ({"width": 17}, "at most the teacher's width, 16; got 17"),
        ({"levels": 1}, "of the teacher's levels, 2; got 1"),
        ({"scale": 2.0}, "of the teacher's scale, 1.0; got 2.0"),
    ],
)
def test_what_is_no_smaller_teacher_is_refused(changes: dict[str, float], message: str) -> None:
    x, _ = data(GLOW)
    other = GLOW.model_copy(update=changes)
    with pytest.raises(ValueError, match=message):
        fold(build_flow(other), other, build_flow(GLOW), GLOW, x)


def test_steps_do_not_merge_into_a_fixed_permutation() -> None:
    config = TABLE.model_copy(update={"mix": "reverse"})
    small = config.model_copy(update={"steps": 2})
    with pytest.raises(ValueError, match="expected mix: linear"):
        fold(build_flow(small), small, build_flow(config), config, data(config)[0])
