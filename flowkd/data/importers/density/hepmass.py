"""Data set `hepmass`: HEPMASS, features of simulated collisions that make a particle of mass 1000.

Source: Masked Autoregressive Flow, 2017, https://arxiv.org/abs/1705.07057, appendix D;
https://github.com/gpapamak/maf, datasets/hepmass.py.
"""

from __future__ import annotations

from typing import IO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv

from flowkd.data.importers.density.archive import read_members, spooled
from flowkd.data.importers.density.base import (
    DensityConfig,
    PublishedTable,
    last_tenth,
    standardised,
    write_table,
)
from flowkd.data.importers.sources import Member
from flowkd.data.manifest import Manifest
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

TRAIN, TEST = "hepmass/1000_train.csv", "hepmass/1000_test.csv"
SIGNAL = 1
MAX_REPEATS = 5
MAX_LINE_BYTES = 2**16
PUBLISHED = PublishedTable(
    "HEPMASS", 21, (315_123, 35_013, 174_987), "standardised by train and val"
)


class HepmassConfig(DensityConfig):
    """HEPMASS, as in DensityConfig; it has two files, so that `source` is no file but a folder."""

    kind: Literal["hepmass"] = "hepmass"
    name: DatasetName = "hepmass"

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; raises DataError for another source."""
        (names, train), (test_names, test) = read_members(self.source, [TRAIN, TEST], _read)
        # The authors' test file has a column too many, at its end.
        if test_names not in (names, [*names, *test_names[-1:]]):
            raise DataError(
                f"expected in {TEST} of {self.source} the columns of {TRAIN}, and one more at "
                f"most: {', '.join(names)}; got {', '.join(test_names)}"
            )
        test = test[: len(names)]
        mean, scale = train.mean(axis=1, keepdims=True), train.std(axis=1, ddof=1, keepdims=True)
        train, test = standardised(train, mean, scale), standardised(test, mean, scale)
        kept = [number for number, column in enumerate(train) if not _is_discrete(column)]
        rest, val = last_tenth(train[kept].T, f"{TRAIN} of {self.source}")
        splits = {"train": rest, "val": val, "test": test[kept].T}
        return write_table(self, store, PUBLISHED, splits, [names[number] for number in kept])


def _is_discrete(column: np.ndarray) -> bool:
    """Tells whether the *smallest* value re-occurs: so the authors' code, which says otherwise."""
    return int(np.count_nonzero(column == column.min())) > MAX_REPEATS


def _read(member: Member) -> tuple[list[str], np.ndarray]:
    """Returns the names of the features, and those of the signal's rows (D, N) in float64."""
    with spooled(member) as file:
        names, used = _header(file, member.where)
        if len(names) < 2:
            raise DataError(
                f"expected a class and features in the first line of {member.where}; got {names}"
            )
        try:
            parts = [_signal(batch) for batch in _batches(file, names[:used])]
        except pa.ArrowException as error:
            raise DataError(f"{member.where} cannot be read as csv: {error}") from error
    found = np.concatenate(parts, axis=1) if parts else np.empty((used - 1, 0))
    if not found.shape[1]:
        raise DataError(f"expected rows of class {SIGNAL} in {member.where}; got none")
    return names[1:], np.concatenate([found, np.full((len(names) - used, found.shape[1]), np.nan)])


def _header(file: IO[bytes], where: str) -> tuple[list[str], int]:
    """Returns the names in the first line, and how many of them have values in the second."""
    first, second = file.readline(MAX_LINE_BYTES), file.readline(MAX_LINE_BYTES)
    file.seek(0)
    if not first.endswith(b"\n") or not second:
        raise DataError(f"expected a line of names and lines of numbers in {where}; got neither")
    names = [name.strip() for name in first.decode("utf-8", "replace").split(",")]
    return names, min(len(names), second.count(b",") + 1)


def _batches(file: IO[bytes], names: list[str]) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(
        file,
        read_options=pa.csv.ReadOptions(column_names=names, skip_rows=1, block_size=2**24),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64())),
    )


def _signal(batch: pa.RecordBatch) -> np.ndarray:
    columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
    signal = columns[0] == SIGNAL
    return np.stack([column[signal] for column in columns[1:]])
