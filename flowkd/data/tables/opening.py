"""The formats of tables, by suffix, and how a file, a folder or a pattern is opened as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import PurePosixPath

import fsspec

from flowkd.data.manifest import LeftOut
from flowkd.data.tables.arrow_file import open_arrow
from flowkd.data.tables.fits import open_fits
from flowkd.data.tables.hdf5 import open_hdf5
from flowkd.data.tables.location import Location, explained, is_pattern
from flowkd.data.tables.numpy_files import open_npy, open_npz
from flowkd.data.tables.parquet import open_parquet
from flowkd.data.tables.parts import joined
from flowkd.data.tables.root import open_root
from flowkd.data.tables.table import ReadOptions, Table
from flowkd.data.tables.text import open_text
from flowkd.errors import DataError


@dataclass(frozen=True)
class Format:
    """A format of tables.

    Attributes:
        name: What messages call it.
        opened: Opens a file of it.
        options: The options that it knows.
    """

    name: str
    opened: Callable[[Location, ReadOptions, ExitStack], Table]
    options: frozenset[str] = frozenset()


_TEXT = Format("csv", open_text, frozenset({"delimiter", "decimal", "header", "missing_texts"}))
_ARROW = Format("arrow", open_arrow)
_HDF5 = Format("hdf5", open_hdf5, frozenset({"key"}))
_FITS = Format("fits", open_fits, frozenset({"key"}))
_PARQUET = Format("parquet", open_parquet)
# A new format is a file of this folder and a line here.
FORMATS: dict[str, Format] = {
    ".csv": _TEXT,
    ".tsv": _TEXT,
    ".txt": _TEXT,
    ".dat": _TEXT,
    ".parquet": _PARQUET,
    ".pq": _PARQUET,
    ".arrow": _ARROW,
    ".feather": _ARROW,
    ".ipc": _ARROW,
    ".npy": Format("npy", open_npy),
    ".npz": Format("npz", open_npz, frozenset({"key"})),
    ".h5": _HDF5,
    ".hdf5": _HDF5,
    ".hdf": _HDF5,
    ".fits": _FITS,
    ".fit": _FITS,
    ".root": Format("root", open_root, frozenset({"key"})),
}

DEFAULT = ReadOptions()


@contextmanager
def open_table(source: str, options: ReadOptions = DEFAULT) -> Iterator[Table]:
    """Yields a table that was opened, of which no rows are read yet.

    Args:
        source: A file, a folder of files of one format, or a pattern such as `part-*.parquet`, on
            any fsspec URL; a file may be compressed.
        options: What the file does not say itself.

    Raises:
        DataError: There is nothing, it is of no known format, damaged, or its package is missing;
            or it holds several tables, and no key says which.
    """
    with explained(source, "a table"):
        names, others = _files(source)
    if not names:
        found = ", ".join(others[:5]) or "nothing"
        raise DataError(f"expected tables in {source}; got {found}")
    openers = [partial(_opened, Location(name), options) for name in names]
    with ExitStack() as stack:
        table = stack.enter_context(openers[0]()) if len(openers) == 1 else joined(source, openers)
        table.left_out += _beside(source, names, others)
        yield table


@contextmanager
def _opened(location: Location, options: ReadOptions) -> Iterator[Table]:
    found = FORMATS.get(location.suffix)
    if found is None:
        raise DataError(
            f"expected a table that ends in {', '.join(FORMATS)} (each may be compressed, as in "
            f".csv.gz); got {location.uri!r}"
        )
    given = {name for name, value in asdict(options).items() if value not in (None, ())}
    unused = sorted(given - found.options)
    if unused:
        raise DataError(
            f"{location.uri} is read as {found.name}, which has no {', '.join(unused)}; leave "
            f"{'it' if len(unused) == 1 else 'them'} out"
        )
    with ExitStack() as stack:
        with explained(location.uri, found.name):
            table = found.opened(location, options, stack)
        yield table


def _beside(source: str, names: Sequence[str], others: Sequence[str]) -> list[LeftOut]:
    """Returns what lies beside the tables: other files, and columns in the names of folders."""
    found = []
    partitions = sorted(_partitions(names, source))
    if partitions:
        why = "in the names of folders rather than in the files"
        found.append(LeftOut(what="columns", count=len(partitions), why=why, names=partitions[:10]))
    if others:
        base = [PurePosixPath(name).name for name in others[:10]]
        found.append(LeftOut(what="files", count=len(others), why="of another format", names=base))
    return found


def _files(source: str) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the files that a source stands for, and those that lie beside them."""
    fs, path = fsspec.core.url_to_fs(source)
    pattern = is_pattern(source) and not fs.exists(path)
    # A web server has no folders; a signed address is opened once, and not asked about before.
    if not pattern and ("http" in fs.protocol or not fs.isdir(path)):
        return [source], []
    found = sorted(fs.glob(path) if pattern else fs.find(path))
    inside = [name for name in found if pattern or not _is_hidden(name, path)]
    known = [name for name in inside if Location(name).suffix in FORMATS]
    suffixes = {FORMATS[Location(name).suffix].name for name in known}
    if len(suffixes) > 1:
        raise DataError(
            f"expected files of one format in {source}; got {', '.join(sorted(suffixes))}"
        )
    others = [name for name in inside if name not in known]
    if not inside:
        raise FileNotFoundError(source)
    return [
        fs.unstrip_protocol(name) if "file" not in fs.protocol else name for name in known
    ], others


def _partitions(names: Sequence[str], source: str) -> set[str]:
    """Returns the columns that Spark and Hive keep in the folders' names: `year=2021`."""
    folders = [PurePosixPath(name.removeprefix(source)).parts[:-1] for name in names]
    return {step.split("=")[0] for steps in folders for step in steps if "=" in step}


def _is_hidden(name: str, folder: str) -> bool:
    """Tells whether a file is one that Spark and Dask write beside the parts."""
    steps = name.removeprefix(folder).split("/")
    return any(step.startswith(("_", ".")) for step in steps)
