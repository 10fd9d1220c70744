"""Data set `gas`: GAS, what chemical sensors read in a mixture of ethylene and carbon monoxide."""

from __future__ import annotations

from typing import Literal

import numpy as np

from flowkd.data.importers.density.archive import MAX_FILE_BYTES, read_members
from flowkd.data.importers.density.base import (
    DensityConfig,
    PublishedTable,
    last_tenth,
    standardised,
    write_table,
)
from flowkd.data.importers.pandas_pickle import read_pandas_pickle
from flowkd.data.importers.sources import Member
from flowkd.data.importers.table import read_text_numbers
from flowkd.data.manifest import Manifest
from flowkd.data.tables.location import Location
from flowkd.data.tables.opening import FORMATS
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

FILE = "gas/ethylene_CO.pickle"
NOT_SENSORS = ("Meth", "Eth", "Time")
MAX_CORRELATION = 0.98
PUBLISHED = PublishedTable(
    "GAS",
    8,
    (852_174, 94_685, 105_206),
    "standardised by all rows",
    "Rows are readings of sensors that follow each other in time",
)


class GasConfig(DensityConfig):
    """GAS, as in DensityConfig; its file may be converted to a table of any format."""

    kind: Literal["gas"] = "gas"
    name: DatasetName = "gas"

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; raises DataError for another source.

        Source: Masked Autoregressive Flow, 2017, https://arxiv.org/abs/1705.07057, appendix D;
        https://github.com/gpapamak/maf, datasets/gas.py.
        """
        if Location(self.source).suffix in FORMATS:
            names, rows = read_text_numbers(self.source)
            values = np.ascontiguousarray(rows.T)
        else:
            [(names, values)] = read_members(self.source, [FILE], _read)
        missing = [name for name in NOT_SENSORS if name not in names]
        if missing:
            raise DataError(
                f"expected columns {', '.join(NOT_SENSORS)} besides the sensors in {self.source}; "
                f"it has no {', '.join(missing)}, but: {', '.join(names)}"
            )
        sensors = [number for number, name in enumerate(names) if name not in NOT_SENSORS]
        kept = [sensors[number] for number in _uncorrelated(values[sensors])]
        values = values[kept]
        mean, scale = values.mean(axis=1), values.std(axis=1, ddof=1)
        rest, test = last_tenth(standardised(values.T, mean, scale), self.source)
        train, val = last_tenth(rest, self.source)
        splits = {"train": train, "val": val, "test": test}
        return write_table(self, store, PUBLISHED, splits, [names[number] for number in kept])


def _read(member: Member) -> tuple[list[str], np.ndarray]:
    return read_pandas_pickle(member.read(MAX_FILE_BYTES), member.where)


def _uncorrelated(values: np.ndarray) -> list[int]:
    """Returns the rows that remain while the first that is correlated with another is dropped."""
    with np.errstate(invalid="ignore", divide="ignore"):
        alike = np.corrcoef(values) > MAX_CORRELATION
    kept = list(range(len(values)))
    while (partners := alike[np.ix_(kept, kept)].sum(axis=1) > 1).any():
        del kept[int(np.argmax(partners))]
    return kept
