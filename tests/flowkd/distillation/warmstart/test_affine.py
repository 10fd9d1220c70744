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


def bent() -> tuple[torch.Tensor, torch.Tensor]:
    """Values, and others that depend on them in order, the first alike, far from linearly."""
    generator = torch.Generator().manual_seed(4)
    h = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    h[:, 2] += h[:, 0]
    y = torch.stack([h[:, 0], h[:, 1] * (2 * h[:, 0]).exp(), h[:, 2] ** 3 - h[:, 1] ** 2], dim=1)
    return h, y


def test_a_matched_map_makes_values_of_the_same_means_and_covariances() -> None:
    h, y = bent()
    for kept in (0, 1, 2):
        found = Affine.match(h, y, kept)
        assert torch.equal(found.matrix[:kept], torch.eye(3).double()[:kept])
        target = torch.cat([h[:, :kept], y[:, kept:]], dim=1)
        made = found(h)
        torch.testing.assert_close(made.mean(0), target.mean(0), atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(made.T.cov(), target.T.cov(), atol=1e-4, rtol=1e-4)
    ordered = Affine.match_in_order(h, y)
    torch.testing.assert_close(ordered(h).T.cov(), y.T.cov(), atol=1e-4, rtol=1e-4)
    assert not ordered.matrix.triu(1).any()
    assert (ordered.matrix.diagonal() > 0).all()


def test_a_matched_map_is_the_one_that_there_is() -> None:
    wanted = affine(3)
    wanted.matrix[0], wanted.shift[0] = torch.eye(3).double()[0], 0
    h = torch.randn(200, 3, 2, 2).double()
    found = Affine.match(h, wanted(h), 1)
    torch.testing.assert_close(found.matrix, wanted.matrix, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.shift, wanted.shift, atol=1e-4, rtol=1e-4)
