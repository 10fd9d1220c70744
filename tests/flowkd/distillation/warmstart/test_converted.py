"""A smaller flow from a converted one: the same, where nothing is lost, and near it elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor

import flowkd
from flowkd.bijectors import Autoregressive, Invertible1x1
from flowkd.distillation.warmstart import WarmStart, check_warm_start, groups, select, warm_start
from flowkd.distillation.warmstart.converted import FITS
from flowkd.flows.build import build_flow, config_of
from flowkd.flows.context import example_context
from flowkd.flows.converted.config import ConvertedConfig
from flowkd.flows.converted.smaller import paired
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from tests.support.foreign_flows import same

# Networks of every form: masks in order, at random and of a graph; blocks, gates, two beside.
NAMES = (
    "nflows MAF", "nflows MAF, feedforward", "nflows NSF-C, unconditional too | context",
    "zuko NSF | context", "zuko NSF, residual", "zuko RealNVP",
    "normflows RealNVP", "normflows MAF", "normflows splines | context",
    "normflows Glow of classes",
)  # fmt: skip
AFFINE = (
    "nflows MAF", "nflows MAF, feedforward", "zuko RealNVP", "normflows RealNVP", "normflows MAF",
    "normflows Glow of classes",
)  # fmt: skip
EACH = pytest.mark.parametrize("name", NAMES)
ROWS = 300


@cache
def _converted(name: str) -> Flow:
    return flowkd.convert(same(name)).double()


def converted(name: str) -> tuple[Flow, ConvertedConfig]:
    """A flow of tests/support/foreign_flows.py, in float64, and its config."""
    flow = copy.deepcopy(_converted(name))
    config = config_of(flow)
    assert isinstance(config, ConvertedConfig)
    return flow, config


def drawn(flow: Flow) -> tuple[Tensor, Tensor | None]:
    context = example_context(flow.context, flow.context_units, ROWS)
    return flow.sample(ROWS, context, generator=torch.Generator().manual_seed(3)), context


def begun(config: ConvertedConfig, source: Flow, x: Tensor, context: Tensor | None) -> Flow:
    """A student of a config, folded."""
    student = build_flow(config, seed=1).double()
    warm_start("fold", student, config, source, config_of(source), x, context)
    return student.requires_grad_(False)


@EACH
def test_a_student_of_its_teachers_shape_is_its_teacher(name: str) -> None:
    teacher, config = converted(name)
    x, context = drawn(teacher)
    student = begun(config.scaled(1.0, 1.0), teacher, x, context)
    torch.testing.assert_close(student.log_prob(x, context), teacher.log_prob(x, context))


def doubled(flow: Flow, large: Flow) -> None:
    """Makes of each hidden unit of a flow two of a larger one's, which do the same."""
    theirs = large.state_dict()
    for key, value in flow.state_dict().items():
        for dim in range(value.dim()):
            if theirs[key].shape[dim] == 2 * value.shape[dim]:
                value = value.repeat_interleave(2, dim)
                if dim == 1 and not key.endswith("mask"):
                    value = value / 2
        theirs[key].copy_(value)


@EACH
@torch.no_grad()
def test_units_that_others_rebuild_are_left_out_and_nothing_changes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, key in ((groups, "SHRINKAGE"), (select, "SHRINKAGE"), (select, "RIDGE")):
        monkeypatch.setattr(module, key, 1e-12)
    known, config = converted(name)
    x, context = drawn(known)
    teacher = build_flow(config.scaled(1.0, 2.0)).double()
    doubled(known, teacher)
    teacher.load_state_dict(teacher.state_dict())  # masks that came by copying
    torch.testing.assert_close(teacher.log_prob(x, context), known.log_prob(x, context))
    student = begun(config, teacher, x, context)
    expected = known.log_prob(x, context)
    torch.testing.assert_close(student.log_prob(x, context), expected, rtol=1e-4, atol=1e-4)


@EACH
def test_a_smaller_student_is_a_flow_nearer_to_its_teacher_than_a_new_one(name: str) -> None:
    teacher, config = converted(name)
    x, context = drawn(teacher)
    for depth, width in ((1.0, 0.75), (0.5, 1.0)):
        small = config.scaled(depth, width)
        student = begun(small, teacher, x, context)
        new = build_flow(small, seed=1).double()
        new.initialize(x, context)
        off, of_new = (
            (flow.log_prob(x, context) - teacher.log_prob(x, context)).square().median()
            for flow in (student, new)
        )
        if depth == 1 or name in AFFINE:
            assert off < 0.5 * of_new
        else:  # no linear map is near to splines that a context decides, but it is no worse
            assert student.log_prob(x, context).mean() >= new.log_prob(x, context).mean()
        # What a column depends on comes before it.
        torch.testing.assert_close(student.inverse(student(x, context).z, context), x)


def test_linear_maps_are_the_nearest_or_those_of_the_same_spread_whichever_is_likelier(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for name in ("nflows MAF", "zuko NSF, residual"):
        teacher, config = converted(name)
        x, _ = drawn(teacher)
        likely = []
        for fits in ((nearest := FITS[0],), (spread := FITS[1],), (nearest, spread)):
            monkeypatch.setattr("flowkd.distillation.warmstart.converted.FITS", fits)
            student = begun(config.scaled(0.5, 1.0), teacher, x, None)
            likely.append(student.log_prob(x).mean())
        assert likely[2] == max(likely)
        found.append(likely[0] > likely[1])
    assert found == [False, True]  # neither is always


@pytest.mark.parametrize("name", [name for name in NAMES if name in AFFINE])
@torch.no_grad()
def test_maps_that_are_linear_are_dropped_and_nothing_changes(name: str) -> None:
    teacher, config = converted(name)
    small = config.scaled(0.5, 1.0)
    gone = 0
    for (_, stands), path in zip(paired(small.layers, config.layers), config.paths(), strict=True):
        if len(stands) > 1:
            gone += 1
            for value in teacher.chain[path].parameters():
                value.zero_()  # of a network: the same scale and shift for every row
    assert gone
    x, context = drawn(teacher)
    student = begun(small, teacher, x, context)
    expected = teacher.log_prob(x, context)
    torch.testing.assert_close(student.log_prob(x, context), expected, rtol=1e-4, atol=1e-4)


def test_the_linear_map_in_place_of_a_masked_one_keeps_its_order() -> None:
    teacher, config = converted("zuko NSF, residual")  # its columns are in another order
    small = config.scaled(0.5, 1.0)
    student = begun(small, teacher, *drawn(teacher))
    pairs = paired(small.layers, config.layers)
    (number,) = (number for number, (_, stands) in enumerate(pairs) if len(stands) > 1)
    masked, matrix = (flow.chain[config.paths()[number]] for flow in (teacher, student))
    assert isinstance(masked, Autoregressive)
    assert isinstance(matrix, Invertible1x1)
    levels = torch.tensor(masked.conditioner.levels())
    depends = matrix.weight().abs() > 1e-9
    assert not (depends & (levels[:, None] < levels)).any()
    assert depends.any(1).all()


REFUSED = {
    "another family": (
        lambda config: CouplingConfig(event_shape=(5,), mean=0.0, scale=1.0, depth=1, width=8),
        "fold",
        r"no closed form leads from a flow of kind converted, nflows \S+ \w+, to one of kind "
        "coupling, whose layers are others: warm_start: none begins at random, and learns from",
    ),
    "another kind": (
        lambda config: config,
        "inherit",
        "a warm start that flows of kind converted have: none, fold; got inherit",
    ),
    "a wider student": (
        lambda config: config.scaled(1.0, 1.5),
        "fold",
        "at most as many hidden units.* got autoregressive for layer 1, autoregressive: take the",
    ),
    "fewer layers": (
        lambda config: config.model_copy(update={"layers": config.layers[:2]}),
        "fold",
        "in place of one with a network; got none for layer 2",
    ),
    "more layers": (
        lambda config: config.model_copy(update={"layers": config.layers + config.layers[:1]}),
        "fold",
        "no more layers than its source's 4; got 1 more",
    ),
    "another scale": (
        lambda config: config.model_copy(update={"scale": 2.0}),
        "fold",
        "expected a student of its source's scale, 1.0; got 2.0",
    ),
    "too few rows": (
        lambda config: config.scaled(1.0, 0.5),
        "fold",
        "at least 8 different rows, to fold .*; got 7: give more rows, or",
    ),
}


@pytest.mark.parametrize(("of", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_no_closed_form_leads_to_is_refused(
    of: Callable[[ConvertedConfig], FlowConfig], kind: WarmStart, message: str
) -> None:
    _, config = converted("nflows MAF")
    with pytest.raises(ValueError, match=message) as error:
        check_warm_start(kind, of(config), config, rows=7)
    assert "\n" not in str(error.value)


def test_a_student_that_is_no_copy_begins_at_random() -> None:
    other = CouplingConfig(event_shape=(5,), mean=0.0, scale=1.0, depth=1, width=8)
    _, config = converted("nflows MAF")
    with pytest.raises(ValueError, match="no closed form leads from a flow of kind coupling, to"):
        check_warm_start("fold", config, other)
