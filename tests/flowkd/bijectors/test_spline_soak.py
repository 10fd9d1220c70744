"""A million points: whatever a network says, values and gradients are finite, and inverses true."""

import pytest
import torch
from torch import Tensor

from flowkd.bijectors import RationalQuadratic

POINTS = 250_000  # in each of two directions and two precisions
SPLINE = RationalQuadratic(4)
# How far parameters are from 0: new networks, trained ones, and ones that went astray.
SPREADS = (0.3, 1.0, 3.0, 10.0, 1000.0)
ROWS = POINTS // len(SPREADS) // 10


def at_edges(parameters: Tensor, axis: int) -> Tensor:
    """For each row an edge of a bin, a number beside one, an end of the spline, or far out."""
    raw = parameters.unflatten(1, (SPLINE.parameters, -1))[:, : 2 * SPLINE.bins]
    shares = SPLINE.shares(raw.unflatten(1, (2, SPLINE.bins)))
    edges = ((2 * SPLINE.bound * shares[:, :, :-1]).cumsum(2) - SPLINE.bound)[:, axis, :, 0]
    far = [-SPLINE.bound, SPLINE.bound, 0.0, -1e6, 1e6, -1e30, 1e30]
    ends = torch.tensor(far).to(edges)
    points = torch.cat([edges, ends.expand(len(edges), -1)], dim=1)
    up = torch.full_like(points, torch.inf)
    points = torch.cat([points, points.nextafter(up), points.nextafter(-up)], dim=1)
    return points.gather(1, torch.arange(len(points))[:, None] % points.shape[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("spread", SPREADS)
def test_values_and_gradients_are_finite_and_inverses_true(spread, axis, dtype):
    there, back = (SPLINE.forward, SPLINE.inverse)[:: 1 - 2 * axis]
    generator = torch.Generator().manual_seed(axis)
    for _ in range(10):
        shape = (ROWS, SPLINE.parameters)
        parameters = (spread * torch.randn(shape, generator=generator)).to(dtype).requires_grad_()
        x = (16 * torch.rand(ROWS, 1, generator=generator) - 8).to(dtype)
        x[::2] = at_edges(parameters.detach(), axis)[::2]
        x.requires_grad_()
        z, log_slope = there(x, parameters)
        (z.sum() + log_slope.sum()).backward()
        with torch.no_grad():
            again, log_slope_back = back(z, parameters)
            found = (z, log_slope, x.grad, parameters.grad, again, log_slope_back)
            assert all(bool(values.isfinite().all()) for values in found)
            if dtype == torch.float64 or spread <= 1 or axis:
                # Rounding of numbers up to the bound, carried through the slope of the way back.
                near = x.abs() <= 8
                rounding = torch.finfo(dtype).eps * SPLINE.bound * (1 + (-log_slope).exp())
                assert bool(((again - x).abs() <= 5 * rounding)[near].all())
