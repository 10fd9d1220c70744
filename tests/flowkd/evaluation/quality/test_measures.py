"""Properties that all measures share: nothing for one distribution, more for a further one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from flowkd.evaluation.quality import (
    Figure,
    classifier_auc,
    fid,
    kid,
    kolmogorov_smirnov,
    mmd,
    prdc,
    sliced_wasserstein,
)
from flowkd.evaluation.quality.figure import Pair

Measure = Callable[..., Figure]


def as_it_is(rows: object) -> object:
    return rows


# Each as a distance: larger is further.
DISTANCES: dict[str, Measure] = {
    "C2ST": lambda x, y, group=None, **o: classifier_auc(x, y, group, features=96, **o),
    "sliced Wasserstein": lambda x, y, group=None, **o: sliced_wasserstein(x, y, group, **o),
    "MMD": lambda x, y, group=None, **o: mmd(x, y, group, **o),
    "KS": lambda x, y, group=None, **o: kolmogorov_smirnov(x, y, ["a", "b"], group, **o)["a"],
    "FID": lambda x, y, group=None, **o: fid(x, y, as_it_is, group, **o),
    "KID": lambda x, y, group=None, **o: kid(x, y, as_it_is, group, **o),
}
SHARES: dict[str, Measure] = {
    name: lambda x, y, group=None, name=name, **o: prdc(x, y, group, **o)[name]
    for name in ("precision", "recall", "density", "coverage")
}
ALL = DISTANCES | SHARES


def normal(count: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 2)) + np.array([shift, 0.0])


@pytest.mark.parametrize("name", DISTANCES)
def test_a_larger_shift_is_further(name: str) -> None:
    found = [DISTANCES[name](normal(300, 0), normal(300, 1, shift)) for shift in (0, 0.4, 1, 3)]
    values = [figure.value for figure in found]
    assert values == sorted(values)
    assert found[1].high < found[2].high
    assert found[2].low > found[0].high
    assert found[3].low > found[2].high


@pytest.mark.parametrize("name", SHARES)
def test_a_larger_shift_shares_less(name: str) -> None:
    found = [SHARES[name](normal(300, 0), normal(300, 1, shift)) for shift in (0, 1.5, 3, 20)]
    values = [figure.value for figure in found]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.9
    assert values[-1] == 0


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("precision", "recall")])
def test_of_one_distribution_it_is_what_it_is_said_to_be(name: str) -> None:
    found = [ALL[name](normal(150, seed), normal(150, 100 + seed)) for seed in range(12)]
    values = np.array([figure.value for figure in found])
    alike = np.mean([figure.alike for figure in found])
    assert values.mean() == pytest.approx(alike, abs=4 * values.std(ddof=1) / np.sqrt(12))
    # 95% intervals: of twelve, three that miss are a chance of one in fifty.
    assert sum(figure.low <= alike <= figure.high for figure in found) >= 10


@pytest.mark.parametrize("name", ["sliced Wasserstein", "KS", "FID"])
def test_what_alike_sets_have_is_known_of_rows_in_groups_too(name: str) -> None:
    group = np.repeat(np.arange(30), 6)
    found = []
    for seed in range(12):
        x = 0.9 * normal(30, seed)[group] + math.sqrt(1 - 0.81) * normal(180, 50 + seed)
        found.append(ALL[name](x, normal(180, 100 + seed), group))
    values = [figure.value for figure in found]
    assert np.mean([figure.alike for figure in found]) == pytest.approx(np.mean(values), rel=0.25)
    alone = ALL[name](normal(180, 0), normal(180, 100)).alike
    assert alone is not None
    assert np.mean(values) > 1.25 * alone


@pytest.mark.parametrize("name", ALL)
def test_it_is_the_same_again_and_states_what_it_is_of(name: str) -> None:
    x, y = normal(60, 0), normal(50, 1)
    group = np.repeat(np.arange(20), 3)
    found = ALL[name](x, y, group)
    assert found == ALL[name](x.copy(), y.copy(), group)
    assert (found.rows, found.samples, found.groups) == (60, 50, 20)
    assert found.error > 0
    assert "60 rows in 20 groups, 50 samples" in str(found)
    assert ALL[name](x, y, group, seed=1).error != found.error


@pytest.mark.parametrize("name", ALL)
def test_rows_that_belong_together_make_the_interval_wider(name: str) -> None:
    centres = normal(25, 0, 0.6)
    group = np.repeat(np.arange(25), 10)
    x = centres[group] + 0.05 * np.random.default_rng(2).normal(size=(250, 2))
    y = normal(250, 1)
    assert ALL[name](x, y, group).error > 1.15 * _alone(name, x, y)


def _alone(name: str, x: np.ndarray, y: np.ndarray) -> float:
    return ALL[name](x, y).error


@pytest.mark.parametrize(
    ("real", "drawn", "group", "message"),
    [
        (np.zeros((5, 2)), np.zeros((5, 3)), None, r"real \(2,\) and drawn \(3,\)"),
        (
            np.zeros((5, 2)),
            np.zeros((1, 2)),
            None,
            r"drawn as at least two rows .* got shape",
        ),
        (np.zeros((5, 2)), np.full((5, 2), np.nan), None, "drawn without NaN and infinity; row 0"),
        (np.zeros((5, 2)), np.zeros((5, 2)), [1, 2], r"expected group \(5,\).* got \(2,\)"),
    ],
)
def test_arrays_that_do_not_go_together_are_refused(
    real: np.ndarray, drawn: np.ndarray, group: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Pair.of(real, drawn, group)
