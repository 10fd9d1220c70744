"""A .npy file's bytes -> the 2-D array that it holds, checked before anything is allocated."""

from __future__ import annotations

import io

import numpy as np

from flowkd.data.npy import read_npy_header
from flowkd.errors import DataError


def read_npy(data: bytes, where: str) -> np.ndarray:
    """Returns the array (N, D), which is a read-only view of the bytes.

    Args:
        data: All of the file.
        where: What error messages call it.

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
