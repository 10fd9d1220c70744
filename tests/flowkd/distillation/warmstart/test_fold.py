"""A student folded from its teacher: its teacher, where nothing is lost, and near it elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flowkd.bijectors import Affine as UnivariateAffine
from flowkd.distillation.warmstart import warm_start
from flowkd.distillation.warmstart.affine import Affine
from flowkd.distillation.warmstart.batching import PLACES_AT_ONCE
from flowkd.distillation.warmstart.layout import blocks
from flowkd.distillation.warmstart.steps import FittedLevel, FittedStep
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from tests.support.taught_flows import (
    CONFIGS,
    GLOW,
    REVERSING,
    TABLE,
    couplings,
    data,
    likelihood,
    new,
    smaller,
    taught,
)

SMALLER = [
    {"depth": 2},
    {"width": 8},
    {"inner": 8},
    {"depth": 2, "width": 8},
    {"depth": 2, "width": 10, "inner": 6},
]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("changes", SMALLER, ids=str)
def test_a_folded_student_begins_nearer_to_its_teacher_than_a_new_or_a_sliced_one(
    name: str, changes: dict[str, int]
) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    teacher, small = taught(config), smaller(config, **changes)
    student, fresh, sliced = new(small), new(small), new(small)
    fresh.initialize(x, context)

    warm_start("fold", student, small, teacher, config, x, context)
    warm_start("slice", sliced, small, teacher, config, x, context)

    begins = likelihood(student, x, context)
    assert likelihood(fresh, x, context) < begins <= likelihood(teacher, x, context) + 0.01
    assert likelihood(sliced, x, context) < begins


@pytest.mark.parametrize(
    ("config", "changes", "rows"),
    [
        (GLOW, {"width": 8}, 4),
        (GLOW, {"depth": 2}, 5),
        (TABLE, {"width": 8}, 16),
        (TABLE, {"depth": 2}, 12),
        (TABLE, {"depth": 2, "width": 8}, 16),
    ],
)
def test_the_fewest_rows_that_are_not_refused_are_enough_to_fold_on(
    config: FlowConfig, changes: dict[str, int], rows: int
) -> None:
    x, _ = data(config)
    small = smaller(config, **changes)
    student, fresh = new(small), new(small)
    fresh.initialize(x)
    warm_start("fold", student, small, taught(config), config, x[:rows])
    assert likelihood(student, x, None) > likelihood(fresh, x, None) + 0.1
    with pytest.raises(ValueError, match=f"at least {rows} different rows"):
        warm_start("fold", student, small, taught(config), config, x[: rows - 1])


def make_linear(flow: Flow, number: int) -> None:
    """Makes a coupling linear in the channels, though its network is not zero."""
    network = couplings(flow)[number].conditioner
    with torch.no_grad():
        for layer in (network.first, network.last):
            if layer.weight.dim() == 4:  # what it sees of the places around
                centre = layer.weight[:, :, 1, 1].clone()
                layer.weight.zero_()
                layer.weight[:, :, 1, 1] = centre
        if network.context is not None:
            network.context.weight.zero_()
        network.first.bias.fill_(50)  # so that no ReLU cuts anything off
        network.middle.weight.abs_()
        half = len(network.last.weight) // 2
        network.last.weight[half:] = 0
        network.last.bias.fill_(0.5)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "table by splines"])
def test_couplings_that_are_linear_are_folded_away_without_loss(name: str) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    teacher = taught(config)
    made = [number for number in range(len(couplings(teacher))) if number % 4 in (0, 2)]
    for number in made:
        make_linear(teacher, number)
    teacher.initialize(x, context)
    small = smaller(config, depth=2)
    student = new(small)
    warm_start("fold", student, small, teacher, config, x, context)
    torch.testing.assert_close(
        student.log_prob(x, context), teacher.log_prob(x, context), atol=1e-3, rtol=1e-4
    )
    stay = [part for number, part in enumerate(couplings(teacher)) if number not in made]
    for ours, theirs in zip(couplings(student), stay, strict=True):
        assert torch.equal(ours.conditioner.last.weight, theirs.conditioner.last.weight)


@pytest.mark.parametrize("name", [*CONFIGS, "reversing"])
def test_hidden_units_that_say_the_same_are_folded_without_loss(name: str) -> None:
    config = CONFIGS.get(name, REVERSING)
    x, context = data(config)
    teacher = taught(config)
    for coupling in couplings(teacher):
        network = coupling.conditioner
        for layer in (network.first, network.middle):
            layer.weight[8:] = layer.weight[:8]
            layer.bias[8:] = layer.bias[:8]
        if network.context is not None:
            network.context.weight[8:] = network.context.weight[:8]
    small = smaller(config, width=8)
    student = new(small)
    warm_start("fold", student, small, teacher, config, x, context)
    assert likelihood(student, x, context) == pytest.approx(
        likelihood(teacher, x, context), abs=2e-3
    )


@pytest.mark.parametrize("name", CONFIGS)
def test_a_step_taken_apart_maps_as_it_did(name: str) -> None:
    config = CONFIGS[name]
    h, context = data(config)
    teacher = taught(config)
    for coupling in couplings(teacher)[::2]:  # a linear map, when the step is taken apart
        coupling.conditioner.last.weight.zero_()
        coupling.conditioner.last.bias.fill_(0.3 if coupling.transform == UnivariateAffine() else 0)
    vectors = teacher.encode_context(context, h)
    for units in blocks(teacher):
        whole, log_det = h, torch.zeros(len(h), dtype=h.dtype)
        for unit in units:
            whole, more = unit(whole, vectors)
            log_det = log_det + more
        if units[0].is_step:
            parts = [FittedStep(Affine.of(unit.step), unit.mapped) for unit in units]
            linear = replace(parts[0], linear=Affine.identity(units[0].channels))
            level = FittedLevel([linear, *parts[1:]], units[0].channels).settle(h, vectors)
            for ours, theirs in zip(level(h, vectors), (whole, log_det), strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
        h = whole


@pytest.mark.parametrize("name", CONFIGS)
def test_a_folded_student_is_a_flow(name: str) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    small = smaller(config, depth=2, width=8)
    student = new(small)
    warm_start("fold", student, small, taught(config), config, x, context)
    student.requires_grad_(False)
    row, of_row = x[:1], None if context is None else context[:1]
    encoding = student(row, of_row)
    torch.testing.assert_close(student.inverse(encoding.z, of_row), row)
    jacobian = torch.autograd.functional.jacobian(lambda x: student(x, of_row).z, row)
    square = jacobian.reshape(student.dimensions, student.dimensions)
    base = torch.distributions.Normal(0.0, 1.0).log_prob(encoding.z).sum()
    torch.testing.assert_close(encoding.log_prob[0], base + torch.linalg.slogdet(square)[1])


@pytest.mark.parametrize("kind", ["fold", "slice"])
def test_networks_see_few_places_at_once(kind: str) -> None:
    x, _ = data(GLOW)
    teacher, small = taught(GLOW), smaller(GLOW, depth=2, width=8)
    seen = []
    for coupling in couplings(teacher):
        coupling.conditioner.first.register_forward_pre_hook(
            lambda _, given: seen.append(given[0][:, 0].numel())
        )
    warm_start(kind, new(small), small, teacher, GLOW, x)
    assert max(seen) <= PLACES_AT_ONCE < x[:, :, ::2, ::2].numel()
