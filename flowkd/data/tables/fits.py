"""FITS: a table extension, by number or name; astropy is optional."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from typing import Any

import numpy as np

from flowkd.data.tables.arrays import ArrayTable, field_of
from flowkd.data.tables.groups import choose
from flowkd.data.tables.location import Location
from flowkd.data.tables.table import ReadOptions, Table
from flowkd.errors import DataError

MAX_WARNINGS = 10


class _Records:
    """The rows of an extension; scaled columns are converted slice by slice."""

    def __init__(self, hdu: Any) -> None:
        self.hdu = hdu
        self.shape = (int(hdu.header["NAXIS2"]),)
        self.dtype = np.dtype(object)

    def __getitem__(self, rows: slice) -> Any:
        return self.hdu.data[rows]


def open_fits(location: Location, options: ReadOptions, stack: ExitStack) -> Table:
    """Returns the table of a FITS extension, of which only the header is read."""
    try:
        from astropy.io import fits
    except ImportError as error:
        raise DataError(f"{location.uri} is read by astropy: pip install 'flowkd[fits]'") from error
    path = stack.enter_context(location.local())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hdus = stack.enter_context(fits.open(path, memmap=True))
        tables = {
            str(number): hdu
            for number, hdu in enumerate(hdus)
            if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)
        }
    hdu = _chosen(tables, options.key, location.uri)
    records = _Records(hdu)
    first = records[slice(0, 1)]
    names = list(hdu.columns.names)
    fields, nulls = [], {}
    for number, name in enumerate(names):
        values = np.asarray(first[name])
        fields.append(field_of(name, np.dtype((values.dtype, values.shape[1:]))))
        if hdu.columns[name].null is not None and values.dtype.kind in "iu":
            nulls[number] = hdu.columns[name].null
    return ArrayTable(
        location.uri,
        fields,
        records.shape[0],
        remarks=[" ".join(str(found.message).split()) for found in caught[:MAX_WARNINGS]],
        arrays=[(records, name) for name in names],
        nulls=nulls,
    )


def _chosen(tables: dict[str, Any], key: str | None, where: str) -> Any:
    if key is not None:
        by_name = {hdu.name: hdu for hdu in tables.values() if hdu.name}
        if key in tables:
            return tables[key]
        return choose({**by_name, **tables}, key.upper(), where)
    if len(tables) != 1:
        found = ", ".join(f"{number} ({hdu.name or 'no name'})" for number, hdu in tables.items())
        raise DataError(
            f"expected one table extension in {where}; it has {found or 'none'}"
            + ("; choose one by `key`" if tables else "")
        )
    return next(iter(tables.values()))
