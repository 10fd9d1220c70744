"""Histograms of likelihood: noise is noise, and no far value hides the others."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from flowkd.data.rows import Examples
from flowkd.evaluation.metrics import evaluate_likelihood
from flowkd.flows.build import build_flow
from flowkd.flows.coupling import CouplingConfig
from flowkd.report.likelihoods import NOISE, bits_of, likelihood_histograms, noise_like


def rows(count: int = 300) -> Examples:
    x = torch.randn(count, 4, generator=torch.Generator().manual_seed(0)).cumsum(1)
    return Examples(x, torch.arange(count) % 3)


def test_noise_of_a_table_has_its_columns_but_nothing_that_belongs_together() -> None:
    data = rows()
    noise = noise_like(data, None)
    assert torch.equal(noise.x.sort(0).values, data.x.sort(0).values)
    assert abs(np.corrcoef(data.x.T.numpy())[2, 3]) > 0.7
    assert np.abs(np.corrcoef(noise.x.T.numpy()) - np.eye(4)).max() < 0.25
    assert noise.context is data.context


def test_noise_of_pictures_is_pixels_of_any_value() -> None:
    pictures = Examples(torch.zeros(50, 1, 8, 8, dtype=torch.uint8))
    noise = noise_like(pictures, 4)
    assert noise.x.dtype == torch.uint8
    counts = np.bincount(noise.x.flatten().numpy(), minlength=4)
    assert len(counts) == 4
    assert counts.min() > 0.2 * counts.sum()


def test_bits_are_those_of_an_evaluation() -> None:
    flow = build_flow(CouplingConfig(event_shape=(4,), mean=0.0, scale=1.0))
    found = bits_of(flow, rows(), None)
    assert found.shape == (300,)
    assert found.mean() == pytest.approx(
        evaluate_likelihood(flow, rows().without_context(), None).bits_per_dim
    )


def spoken(noise: float) -> str:
    draw = np.random.default_rng(0)
    bits = {"train": draw.normal(2, 0.1, 400), "test": draw.normal(2.1, 0.1, 400)}
    return likelihood_histograms({"teacher": {**bits, NOISE: np.full(300, noise)}})[0].svg


def test_noise_that_is_far_is_told_and_does_not_flatten_the_rest() -> None:
    assert "noise:" not in spoken(2.6)
    assert "noise: 50 →" in spoken(50.0)
    assert "noise: infinite →" in spoken(np.inf)
    assert "← noise: -9" in spoken(-9.0)
    assert ">2.0<" in spoken(50.0)
    assert ">50<" not in spoken(50.0)


def test_frames_of_all_flows_are_of_one_range() -> None:
    draw = np.random.default_rng(0)
    one, other = likelihood_histograms(
        {label: {"train": draw.normal(mean, 0.1, 400)} for label, mean in (("a", 2.0), ("b", 3.0))}
    )

    assert words(one.svg) == words(other.svg)


def words(svg: str) -> list[str]:
    return re.findall(r">([^<>]+)</text>", svg)
