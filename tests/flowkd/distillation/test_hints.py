"""The distance of two states: of which channels, and in units of which variance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from flowkd.bijectors import State
from flowkd.distillation.hints import SMALLEST_VARIANCE, Hint


def states() -> tuple[State, State]:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(7, 4, 2, 2, generator=generator).double() for _ in range(2))
    return State(ours, torch.zeros(7)), State(3 * theirs, torch.zeros(7))


def test_a_distance_is_normalised_by_the_teachers_variance() -> None:
    ours, theirs = states()
    expected = (ours.h - theirs.h).square().mean() / theirs.h.var()
    got = Hint(student="a", teacher="b", normalize=True).distance(ours, theirs, 4)
    torch.testing.assert_close(got, expected)


def test_the_variance_is_that_of_the_channels_that_are_compared() -> None:
    ours, theirs = states()
    few = theirs.h[:, :2]
    expected = (ours.h[:, :2] - few).square().mean() / few.var()
    got = Hint(student="a", teacher="b", channels="active", normalize=True)
    torch.testing.assert_close(got.distance(ours, theirs, 2), expected)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_teachers_state_that_never_varies_gives_a_finite_distance(normalize: bool) -> None:
    ours, theirs = states()
    still = State(torch.full_like(theirs.h, 0.5), theirs.log_det)
    expected = (ours.h - 0.5).square().mean() / (SMALLEST_VARIANCE if normalize else 1)
    got = Hint(student="a", teacher="b", normalize=normalize).distance(ours, still, 4)
    torch.testing.assert_close(got, expected)


def distance_of_a_share(rank: int, world: int, folder: str) -> None:
    """Writes what one of several processes makes of its share of the rows."""
    store = dist.FileStore(f"{folder}/store", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    share = slice(rank * 6 // world, (rank + 1) * 6 // world)
    ours, theirs = (State(each.h[share], each.log_det[share]) for each in states())
    hint = Hint(student="a", teacher="b", normalize=True)
    torch.save(hint.distance(ours, theirs, 4), f"{folder}/{rank}")
    dist.destroy_process_group()


def test_the_variance_is_that_of_the_rows_of_all_workers(tmp_path: Path) -> None:
    ours, theirs = (State(each.h[:6], each.log_det[:6]) for each in states())
    whole = Hint(student="a", teacher="b", normalize=True).distance(ours, theirs, 4)
    torch.multiprocessing.spawn(distance_of_a_share, (3, str(tmp_path)), nprocs=3)
    parts = [torch.load(tmp_path / str(rank), weights_only=True) for rank in range(3)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)
