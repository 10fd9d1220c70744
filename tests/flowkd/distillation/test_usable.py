"""Which samples of a teacher are of use: all of their values are finite and within bounds."""

from __future__ import annotations

import math

import pytest
import torch

from flowkd.distillation.targets import Bounds, usable


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_value_that_is_not_finite_spoils_its_sample_alone(bad: float) -> None:
    x = torch.zeros(4, 2, 3)
    x[1, 0, 2] = x[3, 1, 0] = bad
    everything = Bounds(torch.tensor(-math.inf), torch.tensor(math.inf))
    for bounds in (None, everything):
        assert usable(x, bounds).tolist() == [True, False, True, False]


def test_one_value_out_of_bounds_spoils_its_sample_alone() -> None:
    bounds = Bounds.around(torch.tensor([0.0, 10.0]), torch.tensor([2.0, 20.0]), 2.0)
    assert (bounds.low.tolist(), bounds.high.tolist()) == ([-1.0, 5.0], [3.0, 25.0])
    x = torch.tensor([[-1.0, 5.0], [3.0, 25.0], [3.1, 15.0], [1.0, 4.9], [1.0, 15.0]])
    assert usable(x, bounds).tolist() == [True, True, False, False, True]
