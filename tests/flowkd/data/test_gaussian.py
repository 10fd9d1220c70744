"""A Gaussian is that of the rows, in bits per dimension; few rows shrink what it says of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from flowkd.data.gaussian import MAX_FULL_DIMENSIONS, Gaussian


def rows(count: int, dimensions: int = 4, seed: int = 0) -> Tensor:
    """Correlated rows far from the origin, each column in units of its own."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, dimensions, generator=generator, dtype=torch.float64).cumsum(1)
    return (noise * torch.logspace(-2, 2, dimensions) + 1000).float()


def test_of_many_rows_it_is_the_normal_distribution_of_their_moments() -> None:
    x, held_out = rows(20_000), rows(500, seed=1)
    exact = MultivariateNormal(x.double().mean(0), x.double().T.cov(correction=0))
    expected = -exact.log_prob(held_out.double()).mean().item() / (4 * math.log(2))
    assert Gaussian.fit(x, full=True).bits_per_dim(held_out) == pytest.approx(expected, abs=2e-3)


def test_without_covariance_each_value_is_a_normal_one_of_its_own() -> None:
    x, held_out = rows(50), rows(20, seed=1)
    mean, std = x.double().mean(0), x.double().std(0, correction=0)
    each = torch.distributions.Normal(mean, std).log_prob(held_out.double()).sum(1)
    expected = -each.mean().item() / (4 * math.log(2))
    assert Gaussian.fit(x, full=False).bits_per_dim(held_out) == pytest.approx(expected)
    pictures = held_out.view(20, 1, 2, 2)
    again = Gaussian.fit(x.view(50, 1, 2, 2), full=False).bits_per_dim(pictures)
    assert again == pytest.approx(expected)


def test_the_covariance_helps_with_many_rows_and_does_no_harm_with_fewer_than_dimensions() -> None:
    held_out = rows(300, 40, seed=1)
    many, few = rows(5000, 40), rows(20, 40, seed=2)
    bits = [
        [Gaussian.fit(x, full=full).bits_per_dim(held_out) for full in (True, False)]
        for x in (many, few)
    ]
    assert bits[0][0] < bits[0][1] - 0.5
    assert bits[1][0] < bits[1][1]
    assert bits[1][0] > bits[0][0]


@pytest.mark.parametrize(
    "x",
    [
        torch.ones(10, 3),
        rows(1),
        torch.cat([rows(100), 2 * rows(100)], 1),
        torch.randn(3, MAX_FULL_DIMENSIONS + 1),
    ],
    ids=["constant", "one row", "the same twice", "many dimensions"],
)
def test_rows_that_have_no_covariance_have_a_gaussian(x: Tensor) -> None:
    assert np.isfinite(Gaussian.fit(x, full=True).bits_per_dim(x))
