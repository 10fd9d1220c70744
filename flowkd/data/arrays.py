"""A .npy file's bytes -> the 2-D array that it holds, checked before anything is allocated."""

from __future__ import annotations

import io
import math
import tokenize
from typing import Any

import numpy as np
from numpy.lib import format as npy

from flowkd.errors import DataError

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(data: bytes, where: str) -> np.ndarray:
    """Returns the array (N, D), which is a read-only view of the bytes.

    Args:
        data: All of the file.
        where: What error messages call it.

    Raises:
        DataError: It is no .npy, holds objects, promises more than it has, or is no 2-D array of
            real numbers.
    """
    file = io.BytesIO(data)
    try:
        version = npy.read_magic(file)
        if version not in HEADERS:
            raise ValueError(f"expected version 1.0 or 2.0 of the format; got {version}")
        shape, fortran, dtype = HEADERS[version](file)
    except (ValueError, TypeError, KeyError, SyntaxError, tokenize.TokenError) as error:
        raise DataError(f"{where} cannot be read as npy: {error}") from error
    if dtype.hasobject:
        raise DataError(
            f"{where} cannot be read as npy: Object arrays are pickles, which are not loaded; "
            f"save numbers"
        )
    if len(shape) != 2 or min(shape) < 1 or dtype.kind not in "fiu":
        raise DataError(
            f"expected a 2-D array of real numbers in {where}; got {dtype} of shape {shape}"
        )
    promised, held = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if promised > held:
        raise DataError(
            f"{where} is cut off: its header promises {dtype} of shape {shape}, which is "
            f"{promised:,} bytes; it has {held:,}; fetch {where.split(' in ')[-1]} again"
        )
    flat: np.ndarray[Any, Any] = np.frombuffer(data, dtype, math.prod(shape), file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
