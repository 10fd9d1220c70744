"""A measure of samples with its uncertainty, and the resamples that it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from flowkd.data.groups import describe_rows
from flowkd.data.shuffle import derive_seed
from flowkd.evaluation.intervals import COVERED


@dataclass(frozen=True)
class Figure:
    """A measure of how far samples are from data, with its 95% interval and the numbers of rows.

    Error and interval are of the measure at these numbers of rows, by a bootstrap over the groups
    of the data's rows and over the samples. Measures such as distances are above zero even for two
    sets of one distribution: compare them with `alike`, not with zero.

    Attributes:
        value: The measure.
        error: Its standard error; NaN where it is not known, as of a single group.
        low: Lower end of its 95% interval.
        high: Upper end.
        rows: Number of rows of data.
        samples: Number of samples.
        groups: Number of groups of the rows; that of the rows where each is its own.
        alike: What it is on average if both are of one distribution; None where that is unknown.
    """

    value: float
    error: float
    low: float
    high: float
    rows: int
    samples: int
    groups: int
    alike: float | None = None

    def __str__(self) -> str:
        return (
            f"{self.value:.4g} (95% interval {self.low:.4g} to {self.high:.4g}; "
            f"{describe_rows(self.rows, self.groups)}, {self.samples:,} samples)"
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Figure:
        """Returns what `asdict` made of it."""
        return cls(**values)


@dataclass(frozen=True)
class Pair:
    """Rows of data and samples beside each other, as every measure takes them.

    Attributes:
        real: (N, ...) float64.
        drawn: (M, ...) float64, the same shape of a row.
        group: (N,) int64, the group of each row of real, 0 to G - 1.
        groups: G; N where each row is its own.
    """

    real: np.ndarray
    drawn: np.ndarray
    group: np.ndarray
    groups: int

    @classmethod
    def of(cls, real: ArrayLike, drawn: ArrayLike, group: ArrayLike | None) -> Pair:
        """Checks arrays, or tensors.

        Raises:
            ValueError: Their rows have different shapes, or are fewer than two; a value is not
                finite; or the groups are not as many as the rows.
        """
        arrays = {"real": np.asarray(real, np.float64), "drawn": np.asarray(drawn, np.float64)}
        for name, values in arrays.items():
            if values.ndim < 2 or len(values) < 2:
                raise ValueError(
                    f"expected {name} as at least two rows (N, ...); got shape {values.shape}"
                )
            if not np.isfinite(values).all():
                row = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(1)))
                raise ValueError(
                    f"expected {name} without NaN and infinity; row {row} has one: leave such "
                    f"rows out, and say how many they are"
                )
        x, y = arrays.values()
        if x.shape[1:] != y.shape[1:]:
            raise ValueError(
                f"expected rows of one shape; got real {x.shape[1:]} and drawn {y.shape[1:]}"
            )
        if group is None:
            return cls(x, y, np.arange(len(x)), len(x))
        names, place = np.unique(np.asarray(group), return_inverse=True)
        if place.shape != (len(x),):
            raise ValueError(f"expected group ({len(x)},), one for each row; got {place.shape}")
        return cls(x, y, place, len(names))

    @property
    def grouped(self) -> bool:
        """Whether rows of data belong together."""
        return self.groups < len(self.real)

    def flat(self) -> Pair:
        """Returns both with a row's values in one dimension, (N, D) and (M, D)."""
        real, drawn = (rows.reshape(len(rows), -1) for rows in (self.real, self.drawn))
        return Pair(real, drawn, self.group, self.groups)

    def resample(self, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns how often rows (B, N) and samples (B, M) are drawn: groups of rows, samples each.

        References:
            Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 8.
        """
        draws = np.random.default_rng(derive_seed(seed, "quality/bootstrap"))
        of_groups = draws.multinomial(self.groups, np.full(self.groups, 1 / self.groups), resamples)
        count = len(self.drawn)
        of_samples = draws.multinomial(count, np.full(count, 1 / count), resamples)
        return of_groups[:, self.group].astype(np.float64), of_samples.astype(np.float64)

    def resample_alike(self, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns how often rows are drawn, by groups, and as samples alone: (B, N) each.

        Both are of the data's distribution, as if a flow had learnt it.
        """
        draws = np.random.default_rng(derive_seed(seed, "quality/alike"))
        of_groups = draws.multinomial(self.groups, np.full(self.groups, 1 / self.groups), resamples)
        count = len(self.real)
        alone = draws.multinomial(len(self.drawn), np.full(count, 1 / count), resamples)
        return of_groups[:, self.group].astype(np.float64), alone.astype(np.float64)

    def contrasts(self, alike: int, resamples: int, seed: int) -> np.ndarray:
        """Returns weights of rows less those of samples, (1 + A + B, N + M), of one in all each.

        First as they are, then A of two sets of the data's distribution, then B resamples.
        """
        rows, samples = len(self.real), len(self.drawn)
        ours, theirs = self.resample(resamples, seed)
        equal, alone = self.resample_alike(alike, seed)
        whole = np.concatenate([np.full(rows, 1 / rows), np.full(samples, -1 / samples)])[None]
        none = np.zeros((alike, samples))
        return np.concatenate(
            [
                whole,
                np.concatenate([_shares(equal) - _shares(alone), none], axis=1),
                np.concatenate([_shares(ours), -_shares(theirs)], axis=1),
            ]
        )

    def figure(
        self,
        value: float,
        resampled: np.ndarray,
        alike: float | None = None,
        bounds: tuple[float, float] = (-math.inf, math.inf),
    ) -> Figure:
        """Returns the figure of a value and its resamples (B,).

        The resamples are moved so that their mean is the value: those of a distance are larger than
        it is, by about as much as it is larger than the distance of the distributions. Their spread
        is widened by sqrt(G / (G - 1)), for G groups. The interval ends at the bounds of what the
        value can be.
        """
        sizes = {"rows": len(self.real), "samples": len(self.drawn), "groups": self.groups}
        if self.groups < 2 or not np.isfinite(resampled).all():
            return Figure(float(value), math.nan, math.nan, math.nan, **sizes, alike=alike)
        spread = (resampled - resampled.mean()) * math.sqrt(self.groups / (self.groups - 1))
        tail = (1 - COVERED) / 2
        low, high = np.clip(value + np.quantile(spread, [tail, 1 - tail]), *bounds)
        error = float(spread.std(ddof=1))
        return Figure(float(value), error, float(low), float(high), **sizes, alike=alike)


def _shares(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum(1, keepdims=True)
