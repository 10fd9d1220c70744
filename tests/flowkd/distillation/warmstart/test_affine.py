"""Affine maps of the channels: how they compose, and what they do to volumes."""

from __future__ import annotations

import torch

from flowkd.distillation.warmstart.affine import Affine


def affine(seed: int) -> Affine:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    return Affine(matrix, torch.randn(3, generator=generator, dtype=torch.float64))


def test_a_composed_map_is_one_after_the_other() -> None:
    first, second = affine(0), affine(1)
    for h in (torch.randn(5, 3).double(), torch.randn(5, 3, 2, 4).double()):
        both = second.after(first)
        torch.testing.assert_close(both(h), second(first(h)))
        expected = second.log_det(h) + first.log_det(h)
        torch.testing.assert_close(torch.tensor(both.log_det(h)), torch.tensor(expected))


def test_the_log_det_is_that_of_all_places() -> None:
    one = affine(2)
    expected = torch.linalg.det(one.matrix).abs().log().item()
    for places, h in ((1, torch.randn(5, 3)), (8, torch.randn(5, 3, 2, 4))):
        assert abs(one.log_det(h) - places * expected) < 1e-9


def test_a_fit_finds_the_map_that_there_is() -> None:
    kept = 1
    wanted = affine(3)
    wanted.matrix[:kept] = torch.eye(3).double()[:kept]
    wanted.shift[:kept] = 0
    h = torch.randn(200, 3, 2, 2).double()
    found = Affine.fit(h, wanted(h), kept)
    torch.testing.assert_close(found.matrix, wanted.matrix, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.shift, wanted.shift, atol=1e-4, rtol=1e-4)
    assert torch.equal(found.matrix[:kept], torch.eye(3).double()[:kept])
