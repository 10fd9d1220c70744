"""Every warm start: what it takes from its source, and what it refuses."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch

from flowkd.bijectors import Coupling
from flowkd.distillation.warmstart import WarmStart, check_warm_start, warm_start
from flowkd.flows.family import FlowConfig
from tests.support.taught_flows import (
    CONFIGS,
    GLOW,
    REVERSING,
    TABLE,
    couplings,
    data,
    new,
    smaller,
    taught,
)

KINDS = get_args(WarmStart)
WHOLE = [kind for kind in KINDS if kind != "inherit"]


@pytest.mark.parametrize("name", [*CONFIGS, "reversing"])
@pytest.mark.parametrize("kind", WHOLE)
def test_a_student_of_its_sources_size_is_its_source(kind: WarmStart, name: str) -> None:
    config = CONFIGS.get(name, REVERSING)
    x, context = data(config)
    teacher, student = taught(config), new(config)
    warm_start(kind, student, config, teacher, config, x, context)
    torch.testing.assert_close(student.log_prob(x, context), teacher.log_prob(x, context))


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_warm_start_depends_on_source_and_data_alone(kind: WarmStart, name: str) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    small = smaller(config, depth=2, **({} if kind == "copy" else {"width": 8}))
    teacher = taught(config)
    before = copy.deepcopy(teacher.state_dict())
    given = x.clone()
    students = [new(small, seed) for seed in (1, 2)]
    for student in students:
        warm_start(kind, student, small, teacher, config, x, context)
    for key, value in teacher.state_dict().items():
        assert torch.equal(value, before[key]), "the source is only read"
    assert torch.equal(x, given)
    torch.testing.assert_close(*[student.log_prob(x, context) for student in students])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("depth", [4, 3, 2, 1])
def test_inherit_composes_the_steps_of_a_linear_source_exactly(name: str, depth: int) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    teacher = taught(config)
    for coupling in couplings(teacher):
        coupling.conditioner.last.weight.zero_()
        coupling.conditioner.last.bias.zero_()
    teacher.initialize(x, context)
    small = smaller(config, depth=depth, width=8)
    student = new(small)
    warm_start("inherit", student, small, teacher, config, x, context)
    torch.testing.assert_close(student.log_prob(x, context), teacher.log_prob(x, context))


@pytest.mark.parametrize("depth", [4, 2])
def test_inherit_composes_actnorms_through_reversals(depth: int) -> None:
    config, small = smaller(REVERSING, depth=6), smaller(REVERSING, depth=2)
    x, _ = data(config)
    teacher = new(config)
    teacher.initialize(x)
    student = new(small)
    warm_start("inherit", student, small, teacher, config, x)
    torch.testing.assert_close(student.log_prob(x), teacher.log_prob(x))


@pytest.mark.parametrize("name", CONFIGS)
def test_inherit_takes_all_but_the_networks(name: str) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    teacher, student = taught(config), new(config)
    before = [copy.deepcopy(coupling.state_dict()) for coupling in couplings(student)]
    warm_start("inherit", student, config, teacher, config, x, context)
    for coupling, state in zip(couplings(student), before, strict=True):
        for key, value in coupling.state_dict().items():
            assert torch.equal(value, state[key]), "the networks begin anew"
    for ours, theirs in zip(student.chain.modules(), teacher.chain.modules(), strict=True):
        if isinstance(ours, Coupling) and ours not in couplings(student):
            for key, value in ours.state_dict().items():
                assert torch.equal(value, theirs.state_dict()[key]), "split priors"


@pytest.mark.parametrize("kind", ["slice", "copy"])
@pytest.mark.parametrize(("depth", "taken"), [(2, [1, 3]), (3, [0, 1, 3]), (1, [3])])
def test_a_control_takes_the_last_step_of_each_even_group(
    kind: WarmStart, depth: int, taken: list[int]
) -> None:
    x, _ = data(TABLE)
    teacher, small = taught(TABLE), smaller(TABLE, depth=depth)
    student = new(small)
    warm_start(kind, student, small, teacher, TABLE, x)
    for number, origin in enumerate(taken):
        theirs = teacher.chain[f"step{origin}"].state_dict()
        for key, value in student.chain[f"step{number}"].state_dict().items():
            assert torch.equal(value, theirs[key])


# A unit that no row makes speak is as good as a silent one: the splines' teacher has some.
@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "table by splines"])
def test_slice_keeps_the_units_of_the_largest_norm_as_they_are(name: str) -> None:
    config = CONFIGS[name]
    x, context = data(config)
    teacher, small = taught(config), smaller(config, width=4)
    for coupling in couplings(teacher):
        network = coupling.conditioner
        for layer, place in ((network.first, 0), (network.middle, 1)):
            silent = torch.arange(16) % 4 != place
            layer.weight[silent] = 0
            layer.bias.copy_(1 - silent.double())
            if place == 0 and network.context is not None:
                network.context.weight[silent] = 0
    student = new(small)
    warm_start("slice", student, small, teacher, config, x, context)
    for ours, theirs in zip(couplings(student), couplings(teacher), strict=True):
        small_net, large_net = ours.conditioner, theirs.conditioner
        assert torch.equal(small_net.first.weight, large_net.first.weight[::4])
        assert torch.equal(small_net.middle.weight, large_net.middle.weight[1::4, ::4])
        assert torch.equal(small_net.last.weight, large_net.last.weight[:, 1::4])
        if large_net.context is not None:
            assert torch.equal(small_net.context.weight, large_net.context.weight[::4])


REFUSED = {
    "a wider student": ("fold", GLOW, {"width": 17}, "its source's width, 16; got 17: lower"),
    "a deeper student": ("inherit", GLOW, {"depth": 5}, "its source's depth, 4; got 5: lower"),
    "other levels": (
        "slice",
        GLOW,
        {"levels": 1},
        "source's levels, 2; got 1: only depth, width and",
    ),
    "another scale": ("copy", GLOW, {"scale": 2.0}, "source's scale, 1.0; got 2.0: only depth"),
    "another shape": (
        "fold",
        TABLE,
        {"event_shape": (6,)},
        r"source's event_shape, \(5,\); got \(6,\): only depth, width and inner may be smaller",
    ),
    "another mix": ("fold", TABLE, {"mix": "reverse"}, "source's mix, linear; got reverse"),
    "another context": (
        "inherit",
        TABLE,
        {"classes": 3},
        r"its source's context, no context; got int64 classes \(B,\) below 3: set `context:",
    ),
    "a narrower copy": ("copy", GLOW, {"width": 8}, "width, 16, for copy; got 8: use fold"),
    "a copy narrower inside": ("copy", GLOW, {"inner": 8}, "inner, 16, for copy; got 8: use fold"),
    "folding reversals": ("fold", REVERSING, {"depth": 2}, "mix: linear, .* got mix: reverse"),
    "an even number of reversals": (
        "inherit",
        REVERSING,
        {"depth": 2},
        r"odd number .* depth 2 for 4, grouped as \[2, 2\]: choose another depth",
    ),
}


@pytest.mark.parametrize(("kind", "config", "changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_begin_from_its_source_is_refused(
    kind: WarmStart, config: FlowConfig, changes: dict[str, float], message: str
) -> None:
    other = smaller(config, **changes)
    with pytest.raises(ValueError, match=message):
        check_warm_start(kind, other, config)
    with pytest.raises(ValueError, match=message):
        warm_start(kind, new(other), other, new(config), config, data(config)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_another_family_and_another_kind_are_refused(kind: WarmStart) -> None:
    with pytest.raises(ValueError, match="its source's kind, glow; got coupling: choose"):
        check_warm_start(kind, TABLE, GLOW)
    with pytest.raises(ValueError, match="fold, inherit, slice, copy; got 'prune'"):
        check_warm_start("prune", GLOW, GLOW)


@pytest.mark.parametrize(
    ("config", "changes", "enough"),
    [
        (GLOW, {"width": 8}, 4),  # 2 x 2 places in the last level, 16 units
        (GLOW, {"depth": 2}, 5),  # 8 channels and a constant, twice
        (TABLE, {"width": 8}, 16),
        (TABLE, {"depth": 2}, 12),
    ],
)
def test_too_few_rows_to_fold_on_are_refused(
    config: FlowConfig, changes: dict[str, float], enough: int
) -> None:
    small = smaller(config, **changes)
    (key,) = changes
    check_warm_start("fold", small, config, rows=enough)
    check_warm_start("slice", small, config, rows=1)
    check_warm_start("fold", config, config, rows=1)
    message = f"least {enough} different rows, to fold {key} to .*; got {enough - 1}: give more"
    with pytest.raises(ValueError, match=message):
        check_warm_start("fold", small, config, rows=enough - 1)
    x, _ = data(config)
    with pytest.raises(ValueError, match=message):
        warm_start("fold", new(small), small, new(config), config, x[: enough - 1])


def test_data_that_are_not_the_sources_are_refused() -> None:
    small = smaller(TABLE, depth=2)
    flows = new(small), small, new(TABLE), TABLE
    x, _ = data(TABLE)
    with pytest.raises(ValueError, match=r"event shape \(5,\); got \(4,\)"):
        warm_start("fold", *flows, x[:, :4])
    with pytest.raises(ValueError, match="dtype"):
        warm_start("fold", *flows, x.float())
    with pytest.raises(ValueError, match="expected no context"):
        warm_start("fold", *flows, x, x)


def test_no_context_is_no_context_however_it_is_written() -> None:
    check_warm_start("fold", smaller(TABLE, classes=0), smaller(TABLE, classes=None))
