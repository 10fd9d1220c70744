"""Measures against closed forms, plain loops, and other people's code."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch

from flowkd.errors import DataError
from flowkd.evaluation.quality import (
    classifier_auc,
    fid,
    kid,
    kolmogorov_smirnov,
    mmd,
    picture_features,
    prdc,
    sliced_wasserstein,
    standardise,
)

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(9, 3)), DRAW.normal(0.5, 1.5, size=(7, 3))
GROUP = np.array([0, 0, 1, 1, 1, 2, 3, 4, 4])


def pictures(count: int, seed: int, noise: float = 0.0) -> np.ndarray:
    """Pictures (N, 1, 8, 8) of 17 values, smooth but for noise."""
    draw = np.random.default_rng(seed)
    rough = draw.normal(size=(count, 1, 10, 10))
    smooth = sum(rough[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3))
    return np.clip(np.floor(8 + 1.5 * smooth + noise * draw.normal(size=smooth.shape)), 0, 16)


@pytest.mark.parametrize("shift", [0.3, 1.0])
def test_the_auc_is_the_best_possible_for_normal_values(shift: float) -> None:
    draw = np.random.default_rng(1)
    x, y = draw.normal(size=(1000, 3)), draw.normal(size=(1000, 3))
    found = classifier_auc(x, y + np.array([shift, 0, 0]))
    best = NormalDist().cdf(shift / math.sqrt(2))
    assert best - 0.04 < found.value < best + 3 * found.error


def test_an_auc_that_may_be_chance_is_known_less_well_than_that_of_fixed_scores() -> None:
    """The folds' classifiers agree by chance: the variance is about twice that of one's scores."""
    draw = np.random.default_rng(5)
    found = [classifier_auc(*draw.normal(size=(2, 200, 3)), features=96).error for _ in range(5)]
    of_scores = math.sqrt((200 + 200 + 1) / (12 * 200 * 200))  # of a rank sum without ties
    assert 1.15 * of_scores < np.mean(found) < 1.7 * of_scores


@pytest.mark.parametrize("what", ["spread", "correlation", "fine structure"])
def test_the_classifier_sees_what_is_not_in_the_means(what: str) -> None:
    draw = np.random.default_rng(2)
    x, y = draw.normal(size=(2, 800, 2))
    if what == "spread":
        y = 1.5 * y
    elif what == "correlation":
        y[:, 1] = 0.7 * y[:, 0] + math.sqrt(1 - 0.7**2) * y[:, 1]
    else:
        y = np.where(np.cos(8 * y) > 0, y, y + math.pi / 8)
    assert classifier_auc(x, y).low > 0.55


def test_the_auc_does_not_change_with_the_units() -> None:
    x, y = DRAW.normal(size=(100, 2)), DRAW.normal(0.3, 1, size=(100, 2))
    assert classifier_auc(x, y) == classifier_auc(np.exp(x) * 100, np.exp(y) * 100)


def test_the_auc_of_rows_that_come_twice_is_not_of_rows_that_were_learnt() -> None:
    """Copies of one row, in one group: were they in two folds, the classifier would know them."""
    draw = np.random.default_rng(3)
    centres = draw.normal(size=(60, 4))
    group = np.repeat(np.arange(60), 10)
    x, y = centres[group] + 1e-3 * draw.normal(size=(600, 4)), draw.normal(size=(600, 4))
    leaky, sound = classifier_auc(x, y), classifier_auc(x, y, group)
    assert leaky.value > sound.value + 0.1
    assert sound.low < 0.6


def test_sliced_wasserstein_of_a_line_is_the_mean_difference_of_sorted_values() -> None:
    x, y = DRAW.normal(size=(50, 1)), DRAW.gamma(2, size=(50, 1))
    expected = np.abs(np.sort(x, 0) - np.sort(y, 0)).mean()
    assert sliced_wasserstein(x, y).value == pytest.approx(expected)
    stats = pytest.importorskip("scipy.stats")
    y = y[:31]
    expected = stats.wasserstein_distance(x[:, 0], y[:, 0])
    assert sliced_wasserstein(x, y).value == pytest.approx(expected)


def test_sliced_wasserstein_of_a_shift_is_its_mean_length_in_a_direction() -> None:
    x = DRAW.normal(size=(40, 3))
    found = sliced_wasserstein(x, x + np.array([0.0, 2.0, 0.0]), directions=4000)
    assert found.value == pytest.approx(1.0, rel=0.03)  # E|u.d| = |d| / 2 in three dimensions


@pytest.mark.parametrize("group", [None, GROUP])
def test_mmd_is_that_of_a_plain_loop(group: np.ndarray | None) -> None:
    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-((a - b) ** 2).sum() / (2 * 0.7**2))

    known = range(9) if group is None else group
    ours = [
        kernel(X[i], X[j]) for i, j in itertools.permutations(range(9), 2) if known[i] != known[j]
    ]
    theirs = [kernel(Y[i], Y[j]) for i, j in itertools.permutations(range(7), 2)]
    between = [kernel(a, b) for a in X for b in Y]
    expected = np.mean(ours) + np.mean(theirs) - 2 * np.mean(between)
    assert mmd(X, Y, group, bandwidth=0.7).value == pytest.approx(expected)


def test_mmd_of_more_rows_than_a_block_is_that_of_normal_distributions() -> None:
    draw = np.random.default_rng(4)
    x, y = draw.normal(size=(1500, 1)), draw.normal(1, 1, size=(1500, 1))
    found = mmd(x, y, bandwidth=1.0)
    expected = 2 / math.sqrt(3) * (1 - math.exp(-1 / 6))
    assert found.low < expected < found.high
    assert found.value == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("group", [None, GROUP])
def test_shares_are_those_of_plain_loops(group: np.ndarray | None) -> None:
    k = 2
    known = range(9) if group is None else group

    def radius(rows: np.ndarray, i: int, own: object) -> float:
        others = [j for j in range(len(rows)) if own[j] != own[i]]  # type: ignore[index]
        return sorted(np.linalg.norm(rows[i] - rows[j]) for j in others)[k - 1]

    of_x = [radius(X, i, known) for i in range(9)]
    of_y = [radius(Y, j, range(7)) for j in range(7)]
    apart = [[float(np.linalg.norm(a - b)) for b in Y] for a in X]
    expected = {
        "precision": np.mean([any(apart[i][j] < of_x[i] for i in range(9)) for j in range(7)]),
        "recall": np.mean([any(apart[i][j] < of_y[j] for j in range(7)) for i in range(9)]),
        "density": sum(apart[i][j] < of_x[i] for i in range(9) for j in range(7)) / (k * 7),
        "coverage": np.mean([any(apart[i][j] < of_x[i] for j in range(7)) for i in range(9)]),
    }
    found = prdc(X, Y, group, neighbours=k)
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(expected)


def test_rows_that_come_many_times_are_covered_by_their_equals() -> None:
    x = DRAW.integers(0, 3, (120, 2)) * 0.1 + 7
    found = prdc(x, DRAW.permutation(x))
    assert found["precision"].value == found["coverage"].value == 1


def test_too_few_rows_for_neighbours_are_refused() -> None:
    with pytest.raises(ValueError, match=r"more than 5 groups of rows, and samples.* got 9 and 5"):
        prdc(X, Y[:5])


def test_ks_is_scipys_with_ties_and_names_its_columns() -> None:
    stats = pytest.importorskip("scipy.stats")
    x, y = DRAW.normal(size=(80, 2)), DRAW.normal(0.4, 1, size=(60, 2))
    x[:, 1], y[:, 1] = x[:, 1].round(), y[:, 1].round()
    found = kolmogorov_smirnov(x, y, ["mass", "count"])
    for number, name in enumerate(("mass", "count")):
        expected = stats.ks_2samp(x[:, number], y[:, number]).statistic
        assert found[name].value == pytest.approx(expected)
    assert list(kolmogorov_smirnov(x, y)) == ["x0", "x1"]
    with pytest.raises(ValueError, match="names of 2 columns; got 1"):
        kolmogorov_smirnov(x, y, ["mass"])


def test_ks_of_pictures_is_that_of_all_values_of_a_channel() -> None:
    x, y = pictures(30, 0), pictures(20, 1, 3.0)
    found = kolmogorov_smirnov(x, y)["channel 0"]
    stats = pytest.importorskip("scipy.stats")
    assert found.value == pytest.approx(stats.ks_2samp(x.ravel(), y.ravel()).statistic)


def test_fid_of_a_shift_and_a_scale_is_its_closed_form() -> None:
    x = DRAW.normal(size=(60, 4)) @ DRAW.normal(size=(4, 4))
    mean, spread = x.mean(0), np.cov(x.T)
    found = fid(x, 3 * x + 1, torch.nn.Identity()).value
    expected = ((2 * mean + 1) ** 2).sum() + 4 * np.trace(spread)
    assert found == pytest.approx(expected, rel=1e-4)  # features are float32


def test_kid_is_that_of_a_plain_loop() -> None:
    def mean(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
        return float(np.mean([(a @ b / 3 + 1) ** 3 for a, b in pairs]))

    expected = (
        mean(list(itertools.permutations(X, 2)))
        + mean(list(itertools.permutations(Y, 2)))
        - 2 * mean(list(itertools.product(X, Y)))
    )
    assert kid(X, Y, torch.nn.Identity()).value == pytest.approx(expected, rel=1e-4)


def test_features_may_be_a_file_of_torchscript(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 5))
    torch.jit.save(torch.jit.trace(module, torch.zeros(2, 1, 8, 8)), str(tmp_path / "own.pt"))
    x, y = pictures(40, 0), pictures(40, 1)
    assert fid(x, y, tmp_path / "own.pt") == fid(x, y, module)
    (tmp_path / "none.pt").write_text("no module")
    with pytest.raises(DataError, match=r"none.pt': expected the file of a TorchScript module"):
        fid(x, y, tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r"expected features \(B, F\) of a batch; got \(40, 1"):
        fid(x, y, torch.nn.Identity())


def test_standardised_columns_do_not_change_with_the_units() -> None:
    first = standardise(X, Y)
    second = standardise(1000 * X + 7, 1000 * Y + 7)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b)
    assert first[0].std(0) == pytest.approx(1)


def test_random_features_tell_pictures_by_their_texture() -> None:
    same = sliced_wasserstein(*picture_features(pictures(300, 0), pictures(300, 1)))
    rough = sliced_wasserstein(*picture_features(pictures(300, 0), pictures(300, 1, 2.0)))
    assert same.high < rough.low
    again = picture_features(pictures(300, 0), pictures(300, 1))
    np.testing.assert_array_equal(again[0], picture_features(pictures(300, 0), pictures(9, 1))[0])
