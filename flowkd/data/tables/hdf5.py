"""HDF5: a dataset, or a group of datasets as columns, by its path; h5py is optional."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from flowkd.data.tables.arrays import ArrayTable, matrix_table
from flowkd.data.tables.groups import MAX_LISTED, group_table
from flowkd.data.tables.location import Location
from flowkd.data.tables.table import ReadOptions, Table
from flowkd.errors import DataError

MAX_OBJECTS = 10_000
PACKED = ("scale_factor", "add_offset", "_FillValue", "missing_value")


def open_hdf5(location: Location, options: ReadOptions, stack: ExitStack) -> Table:
    """Returns a table of an HDF5 file, of which only the layout is read."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(f"{location.uri} is read by h5py: pip install 'flowkd[data]'") from error
    file = stack.enter_context(h5py.File(stack.enter_context(location.seekable()), "r"))
    tables = _Tables(h5py, file, location.uri)
    if options.key is None:
        return tables.table(tables.only())
    return tables.table(options.key.strip("/"))


class _Tables:
    """The tables of a file: paths of datasets and of groups that have datasets."""

    def __init__(self, h5py: Any, file: Any, where: str) -> None:
        self.h5py, self.file, self.where = h5py, file, where

    def table(self, path: str) -> ArrayTable:
        found = self._at(path)
        where = f"{path} in {self.where}" if path else self.where
        if not isinstance(found, self.h5py.Dataset):
            return self._group(found, where)
        self._check(found, where)
        if found.ndim not in (1, 2) or (found.dtype.names and found.ndim != 1):
            raise DataError(
                f"expected rows of numbers in {where}; got {found.dtype} of shape {found.shape}"
            )
        if found.ndim == 1 and not found.dtype.names:
            return group_table(where, {path.split("/")[-1]: found})
        return matrix_table(where, found)

    def only(self) -> str:
        """Returns the path of the only table there is."""
        paths = self._paths()
        if len(paths) != 1:
            more = f", and {len(paths) - MAX_LISTED} more" if len(paths) > MAX_LISTED else ""
            found = ", ".join(
                f"{path or '/'} ({self._described(path)})" for path in paths[:MAX_LISTED]
            )
            there = f"none, but: {', '.join(list(self.file)[:MAX_LISTED]) or 'nothing'}"
            raise DataError(
                f"expected one table in {self.where}; it has {found or there}{more}"
                + ("; choose one by `key`" if paths else "")
            )
        return paths[0]

    def _paths(self) -> list[str]:
        """Returns matrices and records by their paths, and groups that have columns."""
        tables: dict[str, None] = {}
        seen = 0

        def visit(name: str, found: Any) -> bool | None:
            nonlocal seen
            seen += 1
            if _is_pandas(found):
                raise DataError(_pandas_message(f"{name} in {self.where}"))
            if isinstance(found, self.h5py.Dataset):
                alone = found.ndim == 2 or bool(found.dtype.names)
                if alone:
                    tables[name] = None
                elif found.ndim == 1:
                    tables["/".join(name.split("/")[:-1])] = None
            return True if seen >= MAX_OBJECTS else None

        if _is_pandas(self.file):
            raise DataError(_pandas_message(self.where))
        self.file.visititems(visit)
        return list(tables)

    def _described(self, path: str) -> str:
        found = self._at(path)
        if isinstance(found, self.h5py.Dataset):
            return f"{found.shape[0]:,} rows"
        return f"{len(found)} columns"

    def _at(self, path: str) -> Any:
        """Returns the object at a path, every step of which lies in this very file."""
        found = self.file
        for step in filter(None, path.split("/")):
            link = found.get(step, getlink=True) if isinstance(found, self.h5py.Group) else None
            if link is None:
                there = list(found)[:MAX_LISTED] if isinstance(found, self.h5py.Group) else []
                raise DataError(
                    f"{self.where} has no {path!r}; {found.name} has: "
                    f"{', '.join(there) or 'nothing'}"
                )
            if not isinstance(link, self.h5py.HardLink):
                raise DataError(f"{self.where} is refused: its {path!r} may lie in another file")
            found = found[step]
        return found

    def _group(self, group: Any, where: str) -> ArrayTable:
        if _is_pandas(group):
            raise DataError(_pandas_message(where))
        arrays = {}
        for name in group:
            if isinstance(group.get(name, getlink=True), self.h5py.HardLink):
                found = group[name]
                if isinstance(found, self.h5py.Dataset):
                    self._check(found, f"{name} in {where}")
                    arrays[name] = found
        if not arrays:
            raise DataError(
                f"expected datasets in {where}; it has: {', '.join(group) or 'nothing'}"
            )
        return group_table(where, arrays)

    def _check(self, found: Any, where: str) -> None:
        if found.external or found.is_virtual:
            raise DataError(f"{where} is refused: its values lie in another file")
        packed = [name for name in PACKED if name in found.attrs]
        if (
            packed
            and found.dtype.kind in "iuf"
            and ("scale_factor" in packed or "add_offset" in packed)
        ):
            raise DataError(
                f"{where} holds packed values ({', '.join(packed)}), as netCDF does; write them "
                f"unpacked"
            )


def _is_pandas(found: Any) -> bool:
    return "pandas_type" in found.attrs


def _pandas_message(where: str) -> str:
    return (
        f"{where} is a DataFrame in the layout of pandas' HDFStore, which only pandas reads; write "
        f"it as Parquet: pandas.read_hdf(file, key).to_parquet('table.parquet')"
    )
