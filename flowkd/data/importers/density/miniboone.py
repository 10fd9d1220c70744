"""Data set `miniboone`: MINIBOONE, features of electron neutrinos and of their background."""

from __future__ import annotations

from typing import Literal

from flowkd.data.importers.density.archive import MAX_FILE_BYTES, read_members
from flowkd.data.importers.density.base import (
    DensityConfig,
    PublishedTable,
    standardised_tenths,
    write_table,
)
from flowkd.data.manifest import Manifest
from flowkd.data.npy import read_npy
from flowkd.names import DatasetName
from flowkd.store.store import Store

FILE = "miniboone/data.npy"
PUBLISHED = PublishedTable("MINIBOONE", 43, (29_556, 3_284, 3_648), "standardised by train and val")


class MiniBooNEConfig(DensityConfig):
    """MINIBOONE, as in DensityConfig."""

    kind: Literal["miniboone"] = "miniboone"
    name: DatasetName = "miniboone"

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; raises DataError for another source.

        The authors' file lacks outliers and repetitive columns already.
        Source: Masked Autoregressive Flow, 2017, https://arxiv.org/abs/1705.07057, appendix D;
        https://github.com/gpapamak/maf, datasets/miniboone.py.
        """
        [data] = read_members(
            self.source, [FILE], lambda m: read_npy(m.read(MAX_FILE_BYTES), m.where)
        )
        splits = standardised_tenths(data, self.source)
        return write_table(
            self, store, PUBLISHED, splits, [f"x{number}" for number in range(data.shape[1])]
        )
