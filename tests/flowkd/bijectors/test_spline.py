"""Splines: what they are at zero, what others' are for the same parameters, what harms none."""

import math

import pytest
import torch
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline
from normflows.utils.splines import (
    unconstrained_rational_quadratic_spline as normflows_spline,
)
from zuko.transforms import MonotonicRQSTransform

from flowkd.bijectors import RationalQuadratic
from flowkd.bijectors.spline import ClippedShares, ExpSlopes, FlooredShares, SoftplusSlopes

BINS, BOUND = 5, 3.0
FORMS = {
    "ours": RationalQuadratic(BINS, BOUND),
    "nflows": RationalQuadratic(BINS, BOUND, FlooredShares(2e-3, 5e-3), SoftplusSlopes(4e-3)),
    "zuko": RationalQuadratic(BINS, BOUND, ClippedShares(2e-3), ExpSlopes(2e-3)),
}


def given(rows: int = 400, columns: int = 3, by: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    shape = (rows, 3 * BINS - 1, columns)
    return x, by * torch.randn(shape, generator=generator, dtype=torch.float64)


def by_nflows(x, parameters, inverse, function=unconstrained_rational_quadratic_spline):
    last = parameters.transpose(1, 2)
    widths, heights, slopes = last.split([BINS, BINS, BINS - 1], dim=2)
    return function(
        x, widths, heights, slopes, inverse=inverse, tail_bound=BOUND,
        min_bin_width=2e-3, min_bin_height=5e-3, min_derivative=4e-3,
    )  # fmt: skip


def by_normflows(x, parameters, inverse):
    return by_nflows(x, parameters, inverse, normflows_spline)


def by_zuko(x, parameters, inverse):
    last = parameters.transpose(1, 2)
    parts = last.split([BINS, BINS, BINS - 1], dim=2)
    transform = MonotonicRQSTransform(*parts, bound=BOUND, slope=2e-3)
    return (transform.inv if inverse else transform).call_and_ladj(x)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(
    ("form", "theirs"), [("nflows", by_nflows), ("nflows", by_normflows), ("zuko", by_zuko)]
)
def test_it_is_the_others_for_the_same_parameters(form, theirs, inverse):
    x, parameters = given()
    ours = FORMS[form].inverse if inverse else FORMS[form].forward
    for got, expected in zip(
        ours(x, parameters.flatten(1, 2)), theirs(x, parameters, inverse), strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", ["ours", "zuko"])
def test_zeros_are_the_identity(form):
    spline = FORMS[form]
    for dtype, within in ((torch.float32, 1e-6), (torch.float64, 1e-15)):
        x = torch.linspace(-4, 4, 999, dtype=dtype)[:, None]
        zeros = torch.zeros(999, spline.parameters, dtype=dtype)
        z, log_slope = spline.forward(x, zeros)
        assert torch.equal(z, x)
        assert not log_slope.any()
        back, log_slope = spline.inverse(x, zeros)
        torch.testing.assert_close(back, x, rtol=within, atol=within)
        assert log_slope.abs().max() <= within


@pytest.mark.parametrize("form", FORMS)
def test_it_rises_is_continuous_and_smooth_and_the_identity_beyond_its_bound(form):
    spline = FORMS[form]
    _, parameters = given(1, 1, by=0.5)
    x = torch.linspace(-4, 4, 100_001, dtype=torch.float64)[:, None]
    z, log_slope = spline.forward(x, parameters.flatten(1, 2).expand(len(x), -1))
    steps = z.diff(dim=0) / x.diff(dim=0)
    assert bool((steps > 0).all())
    assert (steps.log() - (log_slope[1:] + log_slope[:-1]) / 2).abs().max() < 1e-3
    beyond = x.abs() > BOUND
    assert torch.equal(z[beyond], x[beyond])
    assert not log_slope[beyond].any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RationalQuadratic(bins=1), "a spline of at least 2 bins; got 1"),
        (lambda: RationalQuadratic(bound=0.0), "a spline's bound above 0; got 0.0"),
        (lambda: RationalQuadratic(bound=math.inf), "a spline's bound above 0; got inf"),
        (lambda: RationalQuadratic(bound=math.nan), "a spline's bound above 0; got nan"),
        (
            lambda: RationalQuadratic(8, shares=FlooredShares(height=0.125)),
            r"share of each bin's height above 0 and below 1 / bins, 0\.125; got 0\.125",
        ),
        (lambda: RationalQuadratic(shares=ClippedShares(1.0)), "above 0 and below 1; got 1.0"),
        (lambda: RationalQuadratic(slopes=ExpSlopes(0.0)), "above 0 and below 1; got 0.0"),
    ],
)
def test_what_is_no_spline_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
