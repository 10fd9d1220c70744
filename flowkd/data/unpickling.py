"""Pickles that other people made, read without running what they name."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from flowkd.errors import DataError

NUMPY = ("_reconstruct", "scalar")
NOTHING: Mapping[tuple[str, str], type] = MappingProxyType({})


def load_plain(
    data: bytes, where: str, stand_ins: Mapping[tuple[str, str], type] = NOTHING
) -> object:
    """Returns what a pickle holds, if it is made of numbers, texts, containers and numpy arrays.

    Args:
        data: The pickle; texts that Python 2 wrote are read as Latin-1.
        where: What error messages call it.
        stand_ins: Inert classes in the place of those that it names, by module and name.

    Raises:
        DataError: It names anything else, or is cut off or damaged.
    """
    try:
        return _Plain(io.BytesIO(data), where, stand_ins).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle makes Python raise almost anything
        raise DataError(f"{where} is no pickle, or is damaged: {error}") from error


class _Plain(pickle.Unpickler):
    def __init__(
        self, file: io.BytesIO, where: str, stand_ins: Mapping[tuple[str, str], type]
    ) -> None:
        super().__init__(file, encoding="latin1")
        self.where = where
        self.stand_ins = stand_ins

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.stand_ins:
            return self.stand_ins[module, name]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if module.startswith("numpy.") and name in NUMPY:
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise DataError(
            f"{self.where} is refused: expected numbers, texts and arrays; it names {module}.{name}"
        )
