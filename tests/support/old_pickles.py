"""DataFrames pickled as pandas 0.17 to 0.20 did it under Python 2, byte by byte, without either."""

import io
import pickle
import types

import numpy as np

# Where pandas kept its indexes: module of Index, of Int64Index and of RangeIndex.
INDEXES = {
    "0.17": ("pandas.core.index",) * 3,
    "0.19": ("pandas.indexes.base", "pandas.indexes.numeric", "pandas.indexes.range"),
    "0.20": (
        "pandas.core.indexes.base",
        "pandas.core.indexes.numeric",
        "pandas.core.indexes.range",
    ),
}
RENAMED = {"numpy._core.multiarray": "numpy.core.multiarray"}


class DataFrame:
    pass


class BlockManager:
    def __init__(self, axes, blocks, items):
        self.parts = axes, blocks, items

    def __getstate__(self):
        axes, blocks, items = self.parts
        values = [block["values"] for block in blocks]
        return axes, values, items, {"0.14.1": {"axes": axes, "blocks": blocks}}


class Index:
    def __init__(self, **state):
        self.state = state

    def __reduce__(self):
        return _new_index, (type(self), self.state), None


class Int64Index(Index):
    pass


class RangeIndex(Index):
    pass


def _new_index(cls, state):
    raise NotImplementedError


class Python2(pickle._Pickler):
    """Writes texts and bytes both as Python 2's str, and classes under pandas' old names."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def __init__(self, file, version):
        super().__init__(file, protocol=2)
        base, numeric, ranges = INDEXES[version]
        self.names = {
            DataFrame: ("pandas.core.frame", "DataFrame"),
            BlockManager: ("pandas.core.internals", "BlockManager"),
            Index: (base, "Index"),
            Int64Index: (numeric, "Int64Index"),
            RangeIndex: (ranges, "RangeIndex"),
            _new_index: (base, "_new_Index"),
        }

    def save_text(self, text):
        data = text if isinstance(text, bytes) else text.encode("latin-1")
        short = len(data) < 256
        size = len(data).to_bytes(1 if short else 4, "little")
        self.write((pickle.SHORT_BINSTRING if short else pickle.BINSTRING) + size + data)
        self.memoize(text)

    def save_global(self, value, name=None):
        module = RENAMED.get(getattr(value, "__module__", None))
        if value in self.names:
            module, name = self.names[value]
        if module is None:
            return super().save_global(value, name)
        self.write(pickle.GLOBAL + f"{module}\n{name or value.__name__}\n".encode())
        return self.memoize(value)

    def save_type(self, value):
        self.save_global(value)

    dispatch[str] = dispatch[bytes] = save_text
    dispatch[types.FunctionType] = save_global
    dispatch[type] = save_type


def pickled(columns, version="0.19", index=None):
    """Returns the pickle of a frame: by name, columns of float64 or int64, blocked by type."""
    names = np.array(list(columns), object)
    rows = len(next(iter(columns.values())))
    axes = [Index(data=names, name=None), index or RangeIndex(start=0, stop=rows, step=1)]
    blocks, items = [], []
    for kind in ("f", "i"):
        places = [n for n, name in enumerate(columns) if columns[name].dtype.kind == kind]
        if not places:
            continue
        values = np.stack([columns[names[place]] for place in places])
        contiguous = places == list(range(places[0], places[-1] + 1))
        where = slice(places[0], places[-1] + 1, 1) if contiguous else np.array(places)
        blocks.append({"values": values, "mgr_locs": where})
        items.append(Index(data=names[places], name=None))
    frame = DataFrame()
    frame.__dict__ = {
        "_data": BlockManager(axes, blocks, items),
        "_typ": "dataframe",
        "_metadata": [],
    }
    return dumped(frame, version)


def dumped(value, version="0.19"):
    file = io.BytesIO()
    Python2(file, version).dump(value)
    return file.getvalue()
