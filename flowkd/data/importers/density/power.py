"""Data set `power`: POWER, the electric power consumption of a household, minute by minute."""

from __future__ import annotations

from typing import Literal

import numpy as np

from flowkd.data.importers.density.archive import MAX_FILE_BYTES, read_members
from flowkd.data.importers.density.base import (
    DensityConfig,
    PublishedTable,
    standardised_tenths,
    write_table,
)
from flowkd.data.manifest import Manifest
from flowkd.data.npy import read_npy
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

FILE = "power/data.npy"
COLUMNS = (
    "global_active_power",
    "global_reactive_power",
    "voltage",
    "global_intensity",
    "sub_metering_1",
    "sub_metering_2",
    "sub_metering_3",
    "time",
)
DROPPED = (1, 3)
PUBLISHED = PublishedTable(
    "POWER",
    6,
    (1_659_917, 184_435, 204_928),
    "dequantised, and standardised by train and val",
    "Rows are minutes of one household, shuffled",
)


class PowerConfig(DensityConfig):
    """POWER, as in DensityConfig."""

    kind: Literal["power"] = "power"
    name: DatasetName = "power"

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; raises DataError for another source.

        Source: Masked Autoregressive Flow, 2017, https://arxiv.org/abs/1705.07057, appendix D;
        https://github.com/gpapamak/maf, datasets/power.py.
        """
        [data] = read_members(
            self.source, [FILE], lambda m: read_npy(m.read(MAX_FILE_BYTES), m.where)
        )
        if data.shape[1] != len(COLUMNS):
            raise DataError(
                f"expected the {len(COLUMNS)} columns of {FILE} in {self.source}; got "
                f"{data.shape[1]}: it is not the table that the authors published"
            )
        splits = standardised_tenths(_with_noise(data), self.source)
        columns = [name for number, name in enumerate(COLUMNS) if number not in DROPPED]
        return write_table(self, store, PUBLISHED, splits, columns)


def _with_noise(data: np.ndarray) -> np.ndarray:
    """Returns the rows shuffled, two columns less, with uniform noise a step of the meter wide."""
    # The legacy generator, call by call as the authors do: another order is another data set.
    rng = np.random.RandomState(42)
    data = np.array(data)
    rng.shuffle(data)
    data = np.delete(data, DROPPED, axis=1)
    voltage = 0.01 * rng.rand(len(data), 1)
    active_power = 0.001 * rng.rand(len(data), 1)
    sub_metering = rng.rand(len(data), 3)
    time = np.zeros((len(data), 1))
    return np.asarray(data + np.hstack([active_power, voltage, sub_metering, time]))
