"""Data set `bsds300`: BSDS300, grey 8x8 patches of photographs less their mean."""

from __future__ import annotations

from typing import IO, Any, Literal

import numpy as np

from flowkd.data.importers.density.archive import MAX_FILE_BYTES, read_members, spooled
from flowkd.data.importers.density.base import DensityConfig, PublishedTable, write_table
from flowkd.data.importers.sources import Member
from flowkd.data.manifest import Manifest
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

FILE = "BSDS300/BSDS300.hdf5"
GROUPS = {"train": "train", "val": "validation", "test": "test"}
PUBLISHED = PublishedTable(
    "BSDS300",
    63,
    (1_000_000, 50_000, 250_000),
    "dequantised and centred, not standardised",
    "Rows are patches of 300 photographs",
)


class Bsds300Config(DensityConfig):
    """BSDS300, as in DensityConfig."""

    kind: Literal["bsds300"] = "bsds300"
    name: DatasetName = "bsds300"

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest.

        Source: Masked Autoregressive Flow, 2017, https://arxiv.org/abs/1705.07057, appendix D;
        https://github.com/gpapamak/maf, datasets/bsds300.py.

        Raises:
            DataError: h5py is not installed, or the source is another.
        """
        [splits] = read_members(self.source, [FILE], _read)
        columns = [f"pixel{number}" for number in range(splits["train"].shape[1])]
        return write_table(self, store, PUBLISHED, splits, columns)


def _read(member: Member) -> dict[str, np.ndarray]:
    with spooled(member) as file:
        return _groups(file, member.where)


def _groups(file: IO[bytes], where: str) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise DataError("BSDS300 is read by h5py: pip install 'flowkd[data]'") from error
    try:
        with h5py.File(file, "r") as groups:
            return {split: _rows(h5py, groups, name, where) for split, name in GROUPS.items()}
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise DataError(f"{where} cannot be read as hdf5, or is cut off: {error}") from error


def _rows(h5py: Any, groups: Any, name: str, where: str) -> np.ndarray:
    """Returns one array (N, D), which must lie in this very file: hdf5 can name others."""
    link, found = groups.get(name, getlink=True), groups.get(name)
    if not isinstance(link, h5py.HardLink) or not isinstance(found, h5py.Dataset):
        raise DataError(
            f"expected an array {name!r} in {where}; it has: {', '.join(groups) or 'nothing'}"
        )
    if found.external or found.is_virtual:
        raise DataError(f"{where} is refused: its {name!r} lies in another file")
    if found.ndim != 2 or found.dtype.kind != "f" or found.shape[1] != PUBLISHED.columns:
        raise DataError(
            f"expected {name!r} in {where} to have real numbers in {PUBLISHED.columns} columns; "
            f"got {found.dtype} of shape {found.shape}"
        )
    if found.nbytes > MAX_FILE_BYTES:
        raise DataError(
            f"{where} is refused: its {name!r} claims {found.nbytes:,} bytes; expected at most "
            f"{MAX_FILE_BYTES:,}"
        )
    return np.asarray(found[:])
