"""FID and KID by features that the user gives: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from flowkd.errors import DataError
from flowkd.evaluation.quality.figure import Figure, Pair
from flowkd.evaluation.quality.kernels import unbiased_mmd

# A function of pictures (B, ...) float32, in data units, to features (B, F), or a TorchScript file.
Features = Callable[[Tensor], Tensor] | str | Path
BATCH = 64
# Resamples of the data that stand for samples of its distribution.
ALIKE = 5


def fid(
    real: ArrayLike,
    drawn: ArrayLike,
    features: Features,
    group: ArrayLike | None = None,
    *,
    resamples: int = 20,
    seed: int = 0,
) -> Figure:
    """Returns the Fréchet distance of the Gaussians of the features' mean and covariance.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), in squared units of the features. With the weights
    of Inception v3 that its authors published, and pictures as those take them, it is FID; with any
    other features, compare it only with figures of the same ones, and name them.

    Warning:
        It is biased upwards, more so with fewer rows and more features: `alike`, its mean for
        resamples of the data in place of the samples, says by about how much.
        Compare figures of equally many rows alone. Below as many rows as features, prefer `kid`.

    Args:
        real: Rows of data, (N, ...), in data units.
        drawn: Samples, (M, ...), alike.
        features: Either a callable, from (B, ...) float32 to (B, F), which scales and resizes as
            it needs; or the path of a TorchScript module that does so. Such a file is a program:
            use only one that you trust.
        group: (N,), equal for rows of data that belong together; default each is its own.
        resamples: Number of bootstrap resamples for the interval, of about F^3 operations each.
        seed: Seed of the resamples.

    Raises:
        DataError: The path is not of a TorchScript module.
        ValueError: As `Pair.of` does, of what the features are.

    References:
        Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash
        equilibrium, 2017, arxiv.org/abs/1706.08500.

    Examples:
        >>> x = np.random.default_rng(0).normal(size=(200, 3))
        >>> round(fid(x, x + 1, lambda rows: rows).value, 4)
        3.0
    """
    pair = _pair(features, real, drawn, group)
    ours, theirs = pair.resample(resamples, seed)
    value = _frechet(pair.real, pair.drawn, np.ones(len(pair.real)), np.ones(len(pair.drawn)))
    alike = [
        _frechet(pair.real, pair.real, first, second)
        for first, second in zip(*pair.resample_alike(ALIKE, seed), strict=True)
    ]
    resampled = [
        _frechet(pair.real, pair.drawn, first, second)
        for first, second in zip(ours, theirs, strict=True)
    ]
    return pair.figure(value, np.array(resampled), float(np.mean(alike)), bounds=(0, np.inf))


def kid(
    real: ArrayLike,
    drawn: ArrayLike,
    features: Features,
    group: ArrayLike | None = None,
    *,
    resamples: int = 200,
    seed: int = 0,
) -> Figure:
    """Returns MMD^2 of the features for k(x, y) = (x.y / F + 1)^3: unbiased, also of few rows.

    It is in the units of the features to the sixth power, and about 0, on either side, for one
    distribution. The arguments and errors are those of `fid`.

    References:
        Binkowski et al., Demystifying MMD GANs, 2018, arxiv.org/abs/1801.01401.
    """
    pair = _pair(features, real, drawn, group)
    size = pair.real.shape[1]
    return unbiased_mmd(pair, lambda a, b: (a @ b.T / size + 1) ** 3, resamples, seed)


@torch.no_grad()
def _pair(features: Features, real: ArrayLike, drawn: ArrayLike, group: ArrayLike | None) -> Pair:
    function = load_features(features) if isinstance(features, str | Path) else features
    found = []
    for rows in (real, drawn):
        given = torch.as_tensor(np.asarray(rows, np.float32))
        parts = [function(some) for some in given.split(BATCH)]
        for some in parts:
            if some.ndim != 2:
                raise ValueError(f"expected features (B, F) of a batch; got {tuple(some.shape)}")
        found.append(torch.cat(parts).double().cpu().numpy())
    return Pair.of(found[0], found[1], group)


def load_features(path: str | Path) -> Callable[[Tensor], Tensor]:
    """Returns a TorchScript module of a file, on the CPU; raises DataError if it is none."""
    try:
        module = torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise DataError(
            f"features {str(path)!r}: expected the file of a TorchScript module, as "
            f"torch.jit.save writes it; {reason}"
        ) from error
    return module.eval()


def _frechet(
    rows: np.ndarray, samples: np.ndarray, weights: np.ndarray, of_samples: np.ndarray
) -> float:
    """Returns the Fréchet distance of rows (N, F) and samples (M, F) by weights, (N,) and (M,)."""
    (mean, spread), (other, others) = _moments(rows, weights), _moments(samples, of_samples)
    values, vectors = np.linalg.eigh(spread)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    common = np.sqrt(np.linalg.eigvalsh(root @ others @ root).clip(0)).sum()
    return float(((mean - other) ** 2).sum() + np.trace(spread) + np.trace(others) - 2 * common)


def _moments(rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    total = weights.sum()
    mean = weights @ rows / total
    centred = rows - mean
    return mean, (centred.T * weights) @ centred / (total - 1)
