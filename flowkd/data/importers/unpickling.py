"""Reads pickles of arrays and plain values without running code, and refuses all others."""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import numpy as np

from flowkd.errors import DataError

# numpy.core became numpy._core in numpy 2; Python 2 wrote the former.
NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
DTYPE = re.compile(r"[<>=|]?([biufcSU][1-9]\d{0,5}|O[48]?)")
SCALARS = (str, bytes, int, float, complex, type(None), np.generic)


def load_safely(
    data: bytes, where: str, stand_ins: Mapping[tuple[str, str], type] | None = None
) -> object:
    """Returns what a pickle holds: arrays of numbers or text, and plain containers and values.

    Text that Python 2 wrote becomes str, byte by byte (latin1). Arrays are of a subclass of
    `np.ndarray` and read-only; arrays of objects may hold plain scalars alone.

    Args:
        data: The pickle.
        where: What error messages call it.
        stand_ins: Inert classes in place of others, by the module and name that the pickle
            gives: they are made with whatever arguments, and get whatever attributes, it says.

    Raises:
        DataError: The pickle asks for anything else, or is cut off or damaged.
    """
    try:
        return _Unpickler(data, where, stand_ins or {}).load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle makes the machine that reads it raise anything
        raise DataError(
            f"{where} cannot be read as a pickle, or is cut off: {type(error).__name__}: {error}; "
            f"fetch {where.split(' in ')[-1]} again"
        ) from error


class _Array(np.ndarray):
    """An array whose state is checked before numpy sees it."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _Dtype) or not all(
            type(length) is int and length >= 0 for length in shape
        ):
            raise ValueError(f"expected an array's shape and dtype; got {shape!r} and {dtype!r}")
        if dtype.value.hasobject:
            if type(raw) is not list or not all(isinstance(value, SCALARS) for value in raw):
                raise ValueError("expected an array of plain values; it holds other objects")
            held: float = len(raw)
        else:
            raw = _bytes(raw)
            held = len(raw) / dtype.value.itemsize
        if held != math.prod(shape):
            raise ValueError(f"expected {math.prod(shape):,} values of an array; got {held:,}")
        plain: Any = (1, shape, dtype.value, bool(fortran), raw)
        super().__setstate__(plain)


class _Dtype:
    """The dtype that a pickle names; numpy's own would take flags that govern memory access."""

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or not DTYPE.fullmatch(code):
            raise ValueError(f"expected a dtype of numbers, text or objects; got {code!r}")
        self.value = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        order, subarray, names, fields = state[1:5]
        if (subarray, names, fields) != (None, None, None):
            raise ValueError("expected a dtype without fields")
        if order in ("<", ">"):
            self.value = self.value.newbyteorder(order)


class _File(io.BytesIO):
    """A file of which the last line is not taken for one that was meant to end there."""

    def readline(self, size: int | None = -1) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n"):
            raise EOFError("the last line has no end")
        return line


# Python's own, not the one in C, which reserves as much memory as a hostile pickle tells it to.
class _Unpickler(pickle._Unpickler):
    stack: list[Any]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in (pickle.BYTEARRAY8[0], pickle.EXT1[0], pickle.EXT2[0], pickle.EXT4[0])
    }

    def __init__(self, data: bytes, where: str, stand_ins: Mapping[tuple[str, str], type]) -> None:
        super().__init__(_File(data), encoding="latin1")
        self.where = where
        self.stand_ins = dict(stand_ins)
        self.left = len(data)  # characters that may still be encoded: each of the file once

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in self.stand_ins:
            return self.stand_ins[module, name]
        # Not an attribute: with a cycle of references, the pickle would stay in memory.
        admitted: dict[tuple[str, str], object] = {
            ("numpy", "dtype"): self._dtype,
            ("numpy", "ndarray"): "ndarray",
            ("_codecs", "encode"): self._encode,
            **{(core, "_reconstruct"): self._reconstruct for core in NUMPY},
            **{(core, "scalar"): self._scalar for core in NUMPY},
        }
        if (module, name) in admitted:
            return admitted[module, name]
        raise DataError(
            f"{self.where} is refused: it asks for {module}.{name}; expected numpy arrays and "
            f"plain values alone, because a pickle can run code; take the file from its publisher"
        )

    def load_build(self) -> None:
        kinds = (_Array, _Dtype, *self.stand_ins.values())
        if not isinstance(self.stack[-2], kinds):
            raise ValueError(f"a {type(self.stack[-2]).__name__} has no state")
        pickle._Unpickler.dispatch[pickle.BUILD[0]](cast(Any, self))

    dispatch[pickle.BUILD[0]] = load_build

    @staticmethod
    def _reconstruct(kind: object, shape: object, code: object) -> _Array:
        if kind != "ndarray" or shape != (0,):
            raise ValueError(f"expected an ndarray of shape (0,) to begin with; got {shape!r}")
        return np.ndarray.__new__(_Array, (0,), "b")

    @staticmethod
    def _dtype(code: object, align: object = False, copy: object = False) -> _Dtype:
        return _Dtype(code)

    @staticmethod
    def _scalar(dtype: _Dtype, raw: object) -> Any:
        if dtype.value.hasobject:
            raise ValueError("expected a scalar that is a number or text; got an object")
        value = np.frombuffer(_bytes(raw), dtype.value)
        return value.reshape(())[()]

    def _encode(self, text: str, encoding: str) -> bytes:
        self.left -= len(text)
        if encoding not in ("latin1", "latin-1") or self.left < 0:
            raise ValueError(f"expected text in latin1, once; got {encoding!r}")
        return text.encode("latin1")


def _bytes(raw: object) -> bytes:
    if isinstance(raw, str):
        return raw.encode("latin1")
    if not isinstance(raw, bytes):
        raise ValueError(f"expected bytes; got {type(raw).__name__}")
    return raw
