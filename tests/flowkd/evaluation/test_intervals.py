"""Properties of errors and intervals: groups are drawn, not rows, and flows are paired."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import numpy as np
import pytest
import torch

from flowkd.data.rows import Examples
from flowkd.evaluation.intervals import (
    MOST_LOTS,
    GroupBits,
    Interval,
    difference,
    gap_interval,
    interval_of,
    mean_of,
    resampled,
)
from flowkd.evaluation.metrics import evaluate_likelihood
from tests.support.small_flows import small_flow


def crops(groups: int, rows: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Bits of crops: pictures differ by 0.5, the crops of one by 0.05 around it."""
    draw = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rows)
    return 3 + draw.normal(0, 0.5, groups)[group] + draw.normal(0, 0.05, len(group)), group


def test_rows_of_a_group_do_not_make_an_error_small() -> None:
    bits, group = crops(24)
    means = [bits[group == number].mean() for number in range(24)]
    expected = np.std(means, ddof=1) / math.sqrt(24)
    found = mean_of(GroupBits.of(bits, group))
    assert found.estimate == pytest.approx(bits.mean())
    assert found.error == pytest.approx(expected, rel=0.05)
    assert found.error > 10 * mean_of(GroupBits.of(bits)).error  # rows taken for independent


def test_rows_of_their_own_have_the_error_of_a_mean() -> None:
    bits = np.random.default_rng(1).normal(size=500)
    expected = bits.std(ddof=1) / math.sqrt(500)
    assert mean_of(GroupBits.of(bits)).error == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("groups", [24, 100])
def test_an_interval_holds_the_truth_as_often_as_it_says(groups: int) -> None:
    held = 0
    for seed in range(200):
        found = mean_of(GroupBits.of(*crops(groups, 5, seed)))
        held += found.low <= 3 <= found.high
    assert held / 200 == pytest.approx(0.95, abs=0.04)


def test_what_two_flows_share_leaves_their_difference() -> None:
    bits, group = crops(40)
    noise = np.random.default_rng(2).normal(0, 0.01, 40)[group]
    first, second = GroupBits.of(bits + 0.1 + noise, group), GroupBits.of(bits, group)
    found = difference(first, second)
    assert found.estimate == pytest.approx(0.1 + noise.mean())
    assert found.error == pytest.approx(0.01 / math.sqrt(40), rel=0.3)
    assert found.error < mean_of(first).error / 20
    assert not found.nothing
    assert difference(second, second).nothing


def test_flows_on_other_rows_are_not_compared() -> None:
    bits, group = crops(4)
    other = GroupBits.of(bits[:-1], group[:-1])
    with pytest.raises(ValueError, match="expected two flows on the same rows"):
        difference(GroupBits.of(bits, group), other)


def test_the_share_of_the_gap_is_paired_as_well() -> None:
    bits, group = crops(60)
    own = np.random.default_rng(3).normal(0, 0.02, 60)[group]
    teacher, plain = GroupBits.of(bits, group), GroupBits.of(bits + 0.2 + own, group)
    half = GroupBits.of(bits + 0.1 + own / 2, group)
    found = gap_interval(teacher, plain, half)
    assert found.estimate == pytest.approx(0.5)
    assert found.error < 1e-9  # on every group half of its gap
    other = GroupBits.of(bits + 0.1 + own[::-1], group)
    assert 0.005 < gap_interval(teacher, plain, other).error < 0.05
    narrow = gap_interval(teacher, GroupBits.of(bits + 0.01 + own, group), half)
    assert narrow.error == pytest.approx((narrow.high - narrow.low) / 3.92, rel=1e-3)
    whole = gap_interval(teacher, plain, teacher)
    assert (whole.estimate, whole.low, whole.high) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(
    ("teacher", "plain", "distilled", "share"),
    [
        (3.35, 3.42, 3.36, 6 / 7),
        (3.0, 4.0, 4.0, 0),
        (3.0, 4.0, 3.0, 1),
        (3.0, 4.0, 2.5, 1.5),
        (3.0, 4.0, 4.5, -0.5),
        (3.0, 3.0, 2.9, math.nan),
        (3.0, 2.9, 2.8, math.nan),
    ],
)
def test_the_share_of_the_gap_that_is_closed(
    teacher: float, plain: float, distilled: float, share: float
) -> None:
    flows = (GroupBits.of(np.array([bits])) for bits in (teacher, plain, distilled))
    assert gap_interval(*flows).estimate == pytest.approx(share, nan_ok=True)


def test_a_gap_that_may_be_none_gives_no_interval() -> None:
    bits, group = crops(20)
    swing = np.random.default_rng(4).normal(0.01, 0.3, 20)[group]
    plain = GroupBits.of(bits + swing - swing.mean() + 0.01, group)
    found = gap_interval(GroupBits.of(bits, group), plain, GroupBits.of(bits, group))
    assert found.estimate == pytest.approx(1)
    assert not found.known


def test_one_group_has_no_error_and_two_are_few() -> None:
    one = mean_of(GroupBits.of(np.array([1.0, 2.0]), np.array([7, 7])))
    assert one.estimate == 1.5
    assert not one.known
    assert one.nothing
    assert math.isnan(one.error)
    assert GroupBits.of(*crops(29)).few
    assert not GroupBits.of(*crops(30)).few


def test_very_many_groups_have_the_same_error_in_lots() -> None:
    bits, group = crops(5 * MOST_LOTS, 3)
    found = GroupBits.of(bits, group)
    assert (len(found.bits), found.groups, sum(found.rows)) == (MOST_LOTS, 5000, 15_000)
    means = bits.reshape(-1, 3).mean(axis=1)
    assert mean_of(found).error == pytest.approx(means.std(ddof=1) / math.sqrt(5000), rel=0.1)
    assert mean_of(found).estimate == pytest.approx(bits.mean())
    gained = GroupBits.of(bits - 0.1, group)  # another flow is put into the same lots
    assert difference(found, gained).error == pytest.approx(0, abs=1e-9)


def test_groups_of_folds_are_pooled() -> None:
    bits, group = crops(24)
    folds = [GroupBits.of(bits[group % 3 == n], group[group % 3 == n]) for n in range(3)]
    pooled, whole = GroupBits.pool(folds), GroupBits.of(bits, group)
    assert (pooled.groups, pooled.mean) == (24, pytest.approx(whole.mean))
    assert mean_of(pooled).error == pytest.approx(mean_of(whole).error, rel=0.1)


def test_draws_are_the_same_in_every_call_and_reading_back_changes_nothing() -> None:
    found = GroupBits.of(*crops(12))
    assert GroupBits.read(asdict(found)) == found
    assert json.loads(json.dumps(asdict(found))) == asdict(found)
    np.testing.assert_array_equal(resampled(found), resampled(GroupBits.read(asdict(found))))
    assert interval_of(np.array([math.nan, 1.0, 2.0])).known is False
    assert Interval(0.1, 0.01, 0.08, 0.12).nothing is False


def test_a_likelihood_has_the_error_of_its_groups() -> None:
    generator = torch.Generator().manual_seed(0)
    base = torch.randint(0, 256, (10, 1, 1, 4, 4), generator=generator)
    x = base.expand(10, 20, 1, 4, 4).reshape(200, 1, 4, 4).to(torch.uint8)
    flow = small_flow("glow", dtype=torch.float32)
    rows = evaluate_likelihood(flow, Examples(x), 256)
    grouped = evaluate_likelihood(flow, Examples(x, group=torch.arange(200) // 20), 256)
    assert grouped.bits_per_dim == rows.bits_per_dim
    assert (grouped.by_group.groups, rows.by_group.groups) == (10, 200)
    assert grouped.standard_error > 3 * rows.standard_error
