"""Pictures of a page: error maps tell how far apart flows are, ways lead from end to end."""

from __future__ import annotations

import numpy as np
import torch

from flowkd.data.rows import Examples
from flowkd.flows.build import build_flow
from flowkd.flows.glow import GlowConfig
from flowkd.report.drawn_pictures import (
    STEPS,
    drawn_pictures,
    error_maps,
    great_circle,
    ways_between,
)

BINS = 17
GLOW = GlowConfig(event_shape=(3, 8, 8), mean=8.0, scale=5.0, levels=2, depth=2, width=4)
ROWS = Examples(torch.randint(0, BINS, (9, 3, 8, 8), generator=torch.Generator()).byte())


def test_error_maps_are_dark_where_flows_agree_and_of_one_scale() -> None:
    teacher = torch.zeros(4, 3, 6, 6)
    near, far = teacher.clone(), teacher.clone()
    near[0, :, 2, 2], far[:, :, 1] = 3.0, -6.0
    near[1, 0, 0, 0] = float("nan")
    found = error_maps({"teacher": teacher, "near": near, "far": far})
    assert [caption.split(":")[0] for caption in found] == ["near", "far"]
    first, second = found.values()
    assert first.shape == second.shape == (4, 1, 6, 6)
    assert second[0, 0, 1, 0] == 255
    assert first[0, 0, 2, 2] == 128  # 3 levels are half of 6, in the other one's scale
    assert first.astype(int).sum() == 128
    assert "far: 1 levels off, white is 6" in found


def test_a_flow_beside_itself_has_dark_maps_and_the_same_samples() -> None:
    flow = build_flow(GLOW)
    found = drawn_pictures({"teacher": flow, "student": flow}, ROWS, BINS)
    assert not any(each.any() for each in found.errors.values())
    held_out, ours, theirs = found.samples.values()
    assert np.array_equal(ours, theirs)
    assert np.array_equal(held_out, np.rint(ROWS.x.numpy() * (255 / (BINS - 1))))


def test_ways_begin_and_end_at_held_out_pictures() -> None:
    ways = ways_between(build_flow(GLOW), ROWS, BINS).reshape(-1, STEPS, 3, 8, 8)
    assert len(ways) == 4
    assert torch.equal(ways[:, 0].floor(), ROWS.x[0:8:2].float())
    assert torch.equal(ways[:, -1].floor(), ROWS.x[1:8:2].float())


def test_ways_keep_to_where_latents_lie() -> None:
    start, end = torch.randn(2, 300, generator=torch.Generator().manual_seed(0))
    lengths = great_circle(start, 2 * end).norm(dim=1)
    assert (lengths.diff() > 0).all()
    assert torch.allclose(lengths[[0, -1]], torch.stack([start.norm(), 2 * end.norm()]))
    assert torch.isfinite(great_circle(start, -start)).all()
    assert torch.isfinite(great_circle(0 * start, end)).all()


def test_one_picture_has_no_way() -> None:
    found = drawn_pictures({"teacher": build_flow(GLOW)}, ROWS.slice(0, 1), BINS)
    assert (found.between, found.errors) == ({}, {})
