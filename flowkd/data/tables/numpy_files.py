"""NumPy's .npy and .npz: arrays in slices of rows, without pickle and without trust in headers."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from contextlib import ExitStack
from typing import IO

import numpy as np

from flowkd.data.npy import read_npy_header
from flowkd.data.tables.arrays import Rows, matrix_table
from flowkd.data.tables.groups import choose, group_table, listed
from flowkd.data.tables.location import Location
from flowkd.data.tables.table import ReadOptions, Table
from flowkd.errors import DataError


class StoredArray:
    """An array in a .npy, whose values are read when they are asked for.

    Args:
        file: The file at its beginning, which can seek.
        size: Its length in bytes.
        where: What messages call it.

    Raises:
        DataError: It is no .npy, holds objects, or is not as long as its header says.
    """

    def __init__(self, file: IO[bytes], size: int, where: str) -> None:
        self.file, self.where = file, where
        try:
            header = read_npy_header(file)
        except ValueError as error:
            raise DataError(f"{where} cannot be read as npy: {error}") from error
        if header.dtype.hasobject:
            raise DataError(
                f"{where} cannot be read as npy: Object arrays are pickles, which are not loaded; "
                f"save numbers"
            )
        self.shape, self.dtype, self.fortran = header.shape, header.dtype, header.fortran
        self.begin = file.tell()
        left = size - self.begin
        if min(self.shape, default=0) < 0 or left < header.nbytes:
            raise DataError(
                f"{where} is cut off: its header promises {self.dtype} of shape {self.shape}, "
                f"which is {header.nbytes:,} bytes; it has {left:,}; fetch it again"
            )
        if left > header.nbytes:
            raise DataError(
                f"{where} has {left - header.nbytes:,} bytes more than its array of shape "
                f"{self.shape}: were several arrays saved into one file? keep them in an .npz, "
                f"or in files of their own"
            )

    def __getitem__(self, rows: slice) -> np.ndarray:
        """Returns the rows from `rows.start` to `rows.stop`."""
        count = rows.stop - rows.start
        width = int(np.prod(self.shape[1:]))
        if not self.fortran or len(self.shape) == 1:
            return self._read(rows.start * width, count * width).reshape(count, *self.shape[1:])
        columns = [self._read(c * self.shape[0] + rows.start, count) for c in range(width)]
        return np.stack(columns, axis=1).reshape(count, *self.shape[1:], order="F")

    def _read(self, first: int, count: int) -> np.ndarray:
        place = self.begin + first * self.dtype.itemsize
        if self.file.tell() != place:
            self.file.seek(place)
        data = self.file.read(count * self.dtype.itemsize)
        if len(data) != count * self.dtype.itemsize:
            raise DataError(f"{self.where} is cut off; fetch it again")
        return np.frombuffer(data, self.dtype)


def open_npy(location: Location, options: ReadOptions, stack: ExitStack) -> Table:
    """Returns the table of a .npy: an array (N, D) of numbers, or records (N,)."""
    file = stack.enter_context(location.seekable())
    size = file.seek(0, 2)
    file.seek(0)
    array = StoredArray(file, size, location.uri)
    if not _is_table(array):
        raise DataError(
            f"expected a 2-D array of real numbers in {location.uri}; got {array.dtype} of shape "
            f"{array.shape}"
        )
    return matrix_table(location.uri, array)


def _is_table(array: Rows) -> bool:
    if array.dtype.names:
        return len(array.shape) == 1
    return len(array.shape) == 2 and min(array.shape) > 0 and array.dtype.kind in "fiu"


def open_npz(location: Location, options: ReadOptions, stack: ExitStack) -> Table:
    """Returns a table of an .npz: one of its arrays, or its arrays (N,) as columns."""
    archive = zipfile.ZipFile(stack.enter_context(location.seekable()))
    stack.callback(archive.close)
    infos = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if options.key is not None:
        array = _member(archive, choose(infos, options.key, location.uri), location, stack)
        if not _is_table(array) and len(array.shape) != 1:
            raise DataError(
                f"expected a 2-D array of real numbers as {options.key!r} in {location.uri}; got "
                f"{array.dtype} of shape {array.shape}"
            )
        if _is_table(array):
            return matrix_table(location.uri, array)
        return group_table(location.uri, {options.key: array})
    arrays = {name: _member(archive, info, location, stack) for name, info in infos.items()}
    tables = [name for name, array in arrays.items() if _is_table(array)]
    if len(arrays) == 1 and tables:
        return matrix_table(location.uri, arrays[tables[0]])
    if tables or not arrays or len({array.shape[:1] for array in arrays.values()}) > 1:
        raise DataError(
            f"expected one table in {location.uri}; it has {listed(arrays)}; choose one by `key`"
        )
    return group_table(location.uri, arrays)


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, location: Location, stack: ExitStack
) -> StoredArray:
    where = f"{info.filename} of {location.uri}"
    if info.flag_bits & 1:
        raise DataError(f"{where} needs a password; save it without one")
    file = stack.enter_context(archive.open(info))
    array = StoredArray(file, info.file_size, where)
    if array.fortran and len(array.shape) > 1 and info.compress_type != zipfile.ZIP_STORED:
        # Its columns lie apart, and whoever jumps in a compressed member begins again each time.
        copy = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        file.seek(0)
        shutil.copyfileobj(file, copy, 2**20)
        copy.seek(0)
        return StoredArray(copy, info.file_size, where)
    return array
