"""ROOT: a TTree or an RNTuple by its path; uproot is optional."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pyarrow as pa

from flowkd.data.tables.arrays import ArrayTable, Rows, field_of
from flowkd.data.tables.groups import choose
from flowkd.data.tables.location import Location
from flowkd.data.tables.table import KIND, ReadOptions, Table
from flowkd.errors import DataError

KINDS = ("TTree", "ROOT::RNTuple")
# As awkward describes an entry that is a number, or a vector of fixed length.
NUMBERS = re.compile(r"\d+( \* \d+)* \* (u?int\d+|float\d+|bool)")


class _Branch:
    """The values of a branch of a TTree or a field of an RNTuple, one entry a row."""

    def __init__(self, branch: Any, dtype: np.dtype) -> None:
        self.branch, self.dtype = branch, dtype
        self.shape = (int(branch.num_entries),)

    def __getitem__(self, rows: slice) -> Any:
        return self.branch.array(entry_start=rows.start, entry_stop=rows.stop, library="np")


def open_root(location: Location, options: ReadOptions, stack: ExitStack) -> Table:
    """Returns the table of a ROOT tree, of which only the layout is read."""
    try:
        import uproot
    except ImportError as error:
        raise DataError(f"{location.uri} is read by uproot: pip install 'flowkd[root]'") from error
    path = stack.enter_context(location.local())
    file = stack.enter_context(uproot.open(path))
    kinds = file.classnames(cycle=False)
    trees = [name for name, kind in kinds.items() if kind in KINDS]
    if options.key is not None:
        choose(dict.fromkeys(trees), options.key, location.uri)
        name = options.key
    elif len(trees) == 1:
        name = trees[0]
    else:
        found = ", ".join(trees) or ", ".join(f"{n} ({k})" for n, k in kinds.items()) or "nothing"
        raise DataError(
            f"expected one tree in {location.uri}; it has {found}"
            + ("; choose one by `key`" if trees else "")
        )
    return _table(uproot, file[name], location.uri)


def _table(uproot: Any, tree: Any, where: str) -> ArrayTable:
    fields: list[pa.Field] = []
    arrays: list[tuple[Rows, str | None]] = []
    for branch, dtype in _branches(uproot, tree):
        source = _Branch(branch, dtype)
        if dtype.names:
            fields += [field_of(f"{branch.name}.{part}", dtype[part]) for part in dtype.names]
            arrays += [(source, part) for part in dtype.names]
            continue
        field = field_of(branch.name, dtype)
        if dtype.hasobject:
            field = field.with_metadata({KIND: b"of varying length, or an object"})
        fields.append(field)
        arrays.append((source, None))
    return ArrayTable(where, fields, int(tree.num_entries), arrays=arrays)


def _branches(uproot: Any, tree: Any) -> Iterator[tuple[Any, np.dtype]]:
    """Yields the branches that have values of their own, and their dtypes."""
    if hasattr(tree, "ntuple"):
        for field in tree.fields:
            first = field.array(entry_start=0, entry_stop=1)
            if NUMBERS.fullmatch(first.typestr):
                values = np.asarray(first)
                yield field, np.dtype((values.dtype, values.shape[1:]))
            else:
                yield field, np.dtype(object)
        return
    for branch in tree.itervalues(recursive=True):
        if len(branch.branches):
            continue
        kind = branch.interpretation
        plain = isinstance(kind, uproot.AsDtype)
        yield branch, np.dtype(kind.to_dtype if plain else object)
