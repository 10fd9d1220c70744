"""Reads NumPy's .npy format without pickle and without trust in what its header claims."""

from __future__ import annotations

import io
import math
import re
import tokenize
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.lib import format as npy

from flowkd.errors import DataError

_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


@dataclass(frozen=True)
class NpyHeader:
    """What the header of a .npy file claims; its dtype may be one of objects.

    Attributes:
        shape: Shape of the array; in a hostile file it may be negative.
        fortran: Whether the first index changes fastest.
        dtype: The dtype of the values.
    """

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self, data: memoryview) -> np.ndarray:
        """Returns a read-only view of the bytes after the header.

        Raises:
            ValueError: They are more or fewer than the header promises.
        """
        if min(self.shape, default=0) < 0 or len(data) != self.nbytes:
            raise ValueError(
                f"its header promises {self.dtype} of shape {self.shape}, which is "
                f"{self.nbytes:,} bytes; it has {len(data):,}"
            )
        flat = np.frombuffer(data, self.dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def read_npy_header(file: IO[bytes]) -> NpyHeader:
    """Reads the header of a .npy file, and leaves the file at the values.

    Raises:
        ValueError: It is none of version 1.0 or 2.0.
    """
    try:
        version = npy.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"expected version 1.0 or 2.0 of the format; got {version}")
        return NpyHeader(*_READERS[version](file))
    except (TypeError, KeyError, SyntaxError, ValueError, tokenize.TokenError) as error:
        # Python tells the address in memory of a header's faulty part.
        raise ValueError(re.sub(r":? <[^>]* at 0x[0-9a-f]+>", "", str(error))) from error


def read_npy(data: bytes, where: str) -> np.ndarray:
    """Returns the array (N, D), which is a read-only view of the bytes.

    Args:
        data: The whole file.
        where: What error messages call the file.

    Raises:
        DataError: It is no .npy, holds objects, is not as long as it promises, or is no 2-D array
            of real numbers.
    """
    file = io.BytesIO(data)
    try:
        header = read_npy_header(file)
    except ValueError as error:
        raise DataError(f"{where} cannot be read as npy: {error}") from error
    shape, dtype = header.shape, header.dtype
    if dtype.hasobject:
        raise DataError(
            f"{where} cannot be read as npy: Object arrays are pickles, which are not loaded; "
            f"save numbers"
        )
    if len(shape) != 2 or min(shape) < 1 or dtype.kind not in "fiu":
        raise DataError(
            f"expected a 2-D array of real numbers in {where}; got {dtype} of shape {shape}"
        )
    try:
        return header.array(memoryview(data)[file.tell() :])
    except ValueError as error:
        raise DataError(
            f"{where} is cut off: {error}; fetch {where.split(' in ')[-1]} again"
        ) from error
