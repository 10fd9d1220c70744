"""Reads NumPy's .npz archives without pickle, and no array larger than allowed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import IO

import numpy as np

from flowkd.data.importers.damage import explain_damage
from flowkd.data.npy import read_npy_header
from flowkd.errors import DataError


def read_npz(data: bytes, where: str, max_bytes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """Returns arrays of an .npz archive by name; those that are not asked for are not read.

    Args:
        data: The archive.
        where: What error messages call it.
        max_bytes: Names of the wanted arrays, with the largest size of each in bytes.

    Raises:
        DataError: The archive is cut off or damaged; an array is missing, claims more than
            allowed, holds objects, or is not as large as its header says.
    """
    with explain_damage(where), zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {info.filename: info for info in archive.infolist()}
        arrays = {}
        for key, limit in max_bytes.items():
            if f"{key}.npy" not in members:
                raise DataError(
                    f"expected arrays {list(max_bytes)} in {where}; got {sorted(members)}"
                )
            size = members[f"{key}.npy"].file_size
            if size > limit:
                raise DataError(
                    f"{key} of {where} is refused: expected at most {limit:,} bytes; it claims "
                    f"{size:,}"
                )
            with archive.open(members[f"{key}.npy"]) as file:
                arrays[key] = _read_npy(file, f"{key} of {where}", size)
    return arrays


def _read_npy(file: IO[bytes], where: str, size: int) -> np.ndarray:
    try:
        header = read_npy_header(file)
    except ValueError as error:
        raise DataError(f"expected the header of a .npy file in {where}; got {error}") from error
    shape, dtype, expected = header.shape, header.dtype, header.nbytes
    if dtype.hasobject or dtype.fields is not None or not dtype.itemsize:
        raise DataError(f"expected numbers in {where}; got {dtype}, which needs pickle")
    if min(shape, default=0) < 0 or expected != size - file.tell():
        raise DataError(
            f"expected {expected:,} bytes of shape {shape} in {where}; it has "
            f"{size - file.tell():,}; fetch the published file again"
        )
    array = np.empty(shape, dtype, order="F" if header.fortran else "C")
    left = array.reshape(-1, order="A").view(np.uint8).data
    while left:
        piece = file.read(min(len(left), 2**20))  # readinto would make a copy of it all
        if not piece:
            raise DataError(f"{where} is cut off: expected {expected:,} bytes; fetch it again")
        left[: len(piece)] = piece
        left = left[len(piece) :]
    return array
