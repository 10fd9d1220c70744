"""Reads a pickled pandas DataFrame without pandas and without running the pickle."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowkd.data.importers.unpickling import load_safely
from flowkd.errors import DataError


class _Kept:
    """An inert stand-in for a class of pandas: keeps its arguments and its state."""

    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Frame(_Kept):
    pass


class _Manager(_Kept):
    pass


class _Block(_Kept):
    pass


class _Index(_Kept):
    pass


# pandas.core.index until 0.17, pandas.indexes in 0.18 and 0.19, pandas.core.indexes from 0.20 on;
# pandas 3 names its public classes.
_BASES = ("pandas.core.index", "pandas.indexes.base", "pandas.core.indexes.base")
_NUMERIC = ("pandas.core.index", "pandas.indexes.numeric", "pandas.core.indexes.numeric")
_RANGES = ("pandas.core.index", "pandas.indexes.range", "pandas.core.indexes.range")
STAND_INS: dict[tuple[str, str], type] = {
    ("pandas", "DataFrame"): _Frame,
    ("pandas.core.frame", "DataFrame"): _Frame,
    ("pandas.core.internals", "BlockManager"): _Manager,
    ("pandas.core.internals.managers", "BlockManager"): _Manager,
    ("pandas._libs.internals", "_unpickle_block"): _Block,
    ("pandas", "Index"): _Kept,
    ("pandas", "RangeIndex"): _Kept,
    **{(module, "_new_Index"): _Index for module in _BASES},
    **{(module, "Index"): _Kept for module in _BASES},
    **{(module, f"{kind}Index"): _Kept for module in _NUMERIC for kind in ("Int64", "Float64")},
    **{(module, "RangeIndex"): _Kept for module in _RANGES},
    ("__builtin__", "slice"): slice,
    ("builtins", "slice"): slice,
}


def read_pandas_pickle(data: bytes, where: str) -> tuple[list[str], np.ndarray]:
    """Returns the names of the columns, and their values (D, N) as float64.

    Reads what pandas from 0.14.1 on has written, under Python 2 or 3, where column names are
    objects (so not pandas 3's own texts) and the protocol is 4 at most.
    Source of the layouts: `BlockManager.__getstate__`, `NDFrame.__getstate__` and
    `Index.__reduce__` in https://github.com/pandas-dev/pandas.

    Args:
        data: The pickle.
        where: What error messages call it.

    Raises:
        DataError: It is no DataFrame, names other classes, has columns that are not numeric, or is
            damaged.
    """
    remedy = (
        f'where you trust the file, convert it: python -c "import pandas; pandas.read_pickle('
        f"'{where.split(' in ')[0]}').to_parquet('table.parquet', index=False)\""
    )
    try:
        frame = load_safely(data, where, STAND_INS)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
    if not isinstance(frame, _Frame):
        raise DataError(f"expected a pandas DataFrame in {where}; got {type(frame).__name__}")
    try:
        names, blocks = _layout(frame)
        values = _assemble(names, blocks)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: expected a DataFrame of numbers as pandas writes it; got another layout "
            f"({type(error).__name__}: {error}); {remedy}"
        ) from error
    return names, values


def _layout(frame: _Frame) -> tuple[list[str], list[tuple[Any, Any]]]:
    """Returns the column names, and each block's values beside the places of its columns."""
    state = _by_text(frame.state)
    manager = state["_mgr"] if "_mgr" in state else state["_data"]
    if manager.arguments:
        found, axes = manager.arguments
        blocks = [block.arguments[:2] for block in found]
    else:
        current = _by_text(_by_text(manager.state[3])["0.14.1"])
        axes = current["axes"]
        blocks = [
            (block["values"], block["mgr_locs"]) for block in map(_by_text, current["blocks"])
        ]
    names = [_text(name) for name in _by_text(axes[0].arguments[1])["data"]]
    return names, blocks


def _assemble(names: list[str], blocks: list[tuple[Any, Any]]) -> np.ndarray:
    rows = {block.shape[1] for block, _ in blocks}
    taken = np.concatenate([np.arange(len(names))[places] for _, places in blocks])
    counts = [len(block) for block, _ in blocks]
    if len(rows) != 1 or sorted(taken) != list(range(len(names))) or sum(counts) != len(names):
        raise ValueError(f"{len(names)} columns, blocks of {counts} columns and {rows} rows")
    wrong = [str(block.dtype) for block, _ in blocks if block.dtype.kind not in "fiu"]
    if wrong:
        raise TypeError(f"expected numbers; got {', '.join(wrong)}")
    values = np.empty((len(names), *rows))
    for block, places in blocks:
        values[places] = block
    return values


def _by_text(state: dict[Any, Any]) -> dict[str, Any]:
    return {_text(key): value for key, value in state.items()}


def _text(name: Any) -> str:
    return name.decode("latin-1") if isinstance(name, bytes) else str(name)
