"""The order of columns: masks follow it, students keep it, and one that is none is told."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from flowkd.bijectors import Bijector
from flowkd.config import parse_config
from flowkd.distillation.warmstart import check_warm_start, warm_start
from flowkd.errors import ConfigError
from flowkd.flows.autoregressive import AutoregressiveConfig
from flowkd.flows.build import build_flow, smaller
from flowkd.flows.coupling import CouplingConfig
from flowkd.flows.family import FlowConfig
from tests.support.small_flows import randomise

ORDER = (3, 0, 4, 1, 2)
ORDERED: dict[str, Any] = {
    "event_shape": (5,), "mean": 0.0, "scale": 1.0, "depth": 2, "width": 10, "mix": "reverse",
    "order": ORDER,
}  # fmt: skip
MASKED = {
    "layers": AutoregressiveConfig(**ORDERED, bins=3, activation="tanh"),
    "residual blocks": AutoregressiveConfig(
        **ORDERED, transform="affine", blocks=1, activation="tanh"
    ),
}
COUPLING = CouplingConfig(**ORDERED)


def moved(step: Bijector) -> Tensor:
    """Which values of a step's result, the rows, move with each of what it is given."""
    randomise(step)
    x = torch.linspace(-1, 1, 5).double()
    apart = step(x + 0.1 * torch.eye(5).double())[0] - step(x.expand(5, -1))[0]
    return apart.T.abs() > 1e-12


@pytest.mark.parametrize("name", MASKED)
@torch.no_grad()
def test_what_is_made_of_a_column_depends_on_those_before_it(name: str) -> None:
    first, second = (build_flow(MASKED[name]).double().chain[f"step{step}"] for step in (0, 1))
    before = torch.ones(5, 5, dtype=torch.bool).tril()
    assert torch.equal(moved(first)[:, list(ORDER)], before)
    assert torch.equal(moved(second).flip(1), before)


@torch.no_grad()
def test_the_first_half_of_the_order_decides_how_a_coupling_maps_the_others() -> None:
    found = moved(build_flow(COUPLING).double().chain["step0"])[:, list(ORDER)]
    expected = torch.eye(5, dtype=torch.bool)
    expected[2:, :2] = True
    assert torch.equal(found, expected)


@pytest.mark.parametrize("config", [COUPLING, *MASKED.values()])
def test_the_last_column_is_the_first_by_default(config: FlowConfig) -> None:
    plain, last = (config.model_copy(update={"order": order}) for order in (None, (4, 3, 2, 1, 0)))
    expected = build_flow(plain).state_dict()
    found = build_flow(last).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("config", [COUPLING, MASKED["layers"]])
def test_students_keep_the_order(config: FlowConfig) -> None:
    student = smaller(config, 0.6)
    assert isinstance(student, CouplingConfig)
    assert (student.mix, student.order) == ("reverse", ORDER)


@torch.no_grad()
def test_a_student_that_begins_as_its_source_has_the_order_in_its_weights() -> None:
    narrow, x = COUPLING.model_copy(update={"width": 6}), torch.randn(60, 5).double()
    source, student = build_flow(COUPLING).double(), build_flow(narrow).double()
    warm_start("fold", student, narrow, source, COUPLING, x)
    assert student.chain["step0.mix"].order.tolist() == list(ORDER)
    other = narrow.model_copy(update={"order": (0, 1, 2, 3, 4)})
    with pytest.raises(ValueError, match=r"its source's order, \(3, 0, 4, 1, 2\); got \(0, 1"):
        check_warm_start("fold", other, COUPLING)
    with pytest.raises(ValueError, match="which its first step alone has; got 1"):
        check_warm_start("copy", COUPLING.model_copy(update={"depth": 1}), COUPLING)


@pytest.mark.parametrize("kind", [AutoregressiveConfig, CouplingConfig])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"order": [0, 1, 1, 3, 4]}, "order: expected a permutation .* missing: 2; .*once: 1"),
        ({"order": [1, 2, 3, 4, 5]}, "missing: 0; no such column: 5"),
        ({"order": []}, "got none: missing: 0, 1"),
        ({"order": [1, 0, 2]}, r"order of all columns of event_shape \(5,\); got one of 3, 1, 0"),
        ({"mix": "linear"}, "expected mix: reverse, for order"),
    ],
)
def test_an_order_that_is_none_is_told(
    kind: type[FlowConfig], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_config(kind, {**ORDERED, **changes}, source="flow")
    assert "\n" not in str(caught.value)
