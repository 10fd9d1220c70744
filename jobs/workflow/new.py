"""`flowkd new`: a user's data, looked at, become one file from import to deployment."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

import fsspec

from flowkd.data.facts import named_values
from flowkd.data.importers.sources import Source
from flowkd.data.manifest import dataset_names, read_manifest
from flowkd.data.tables.location import Location, is_pattern
from flowkd.data.tables.opening import FORMATS
from flowkd.errors import DataError
from flowkd.store.store import Store
from jobs.workflow.look import Look, listed
from jobs.workflow.look_pictures import look_at_pictures, pictures_of
from jobs.workflow.look_table import look_at_table

LONGEST = 39  # of a name that a pipeline may have, too


def name_of_source(source: str) -> str:
    """Returns what data may be called, by their path.

    >>> name_of_source("data/My rows (2).csv.gz"), name_of_source("s3://b/rows/part-*.parquet")
    ('My-rows-2', 'rows')
    """
    path = PurePosixPath(source)
    stem = path.parent.name if is_pattern(path.name) else path.name.split(".")[0] or path.name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:LONGEST] or "mine"


def look_at(source: str, name: str, options: dict[str, Any], store: Store) -> Look:
    """Returns what is found in data: a table, pictures, or a data set of the store.

    Args:
        source: A path, a pattern, any fsspec URL, or the name of a data set.
        name: What the data set is to be called.
        options: Keys of the import that the user has set.
        store: Where data sets are.

    Raises:
        DataError: There is nothing of the kind, or nothing that can be learnt from.
    """
    if not _is_there(source):
        if source in dataset_names(store):
            return _dataset(source, store)
        if not is_pattern(source):
            raise DataError(
                f"there is no {source!r}; expected a file, a folder, an fsspec URL, or a data set "
                f"of {store}, which has {listed(dataset_names(store)) or 'none'}"
            )
    elif not _is_table(source):
        return look_at_pictures(source, name, options)
    return look_at_table(source, name, options)


def _is_there(source: str) -> bool:
    try:
        fs, path = fsspec.core.url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise DataError(f"cannot open {source}: {error}") from error
    return bool(fs.exists(path))


def _is_table(source: str) -> bool:
    """Tells whether there are more tables than pictures, in a folder; or a file is one."""
    found = Source(source)
    if found.kind == "zip":
        return False
    if found.kind != "folder":
        return True  # or its opening says what is expected
    pictures = len(pictures_of(source))
    tables = sum(1 for _ in found.members(lambda each: Location(each).suffix in FORMATS))
    if pictures == tables == 0:
        raise DataError(f"expected tables or pictures in {source}; got none")
    return tables > pictures


def _dataset(name: str, store: Store) -> Look:
    manifest = read_manifest(store, name)
    rows = manifest.splits["train"].rows
    named = named_values(manifest)
    return Look(
        name,
        about=f"data set {name} of the store: {manifest.event_shape}, {rows:,} train rows"
        + "".join(f"; {key}: {value}" for key, value in named.items()),
        remarks=list(manifest.remarks),
        event_shape=tuple(manifest.event_shape),
        rows=round(rows / 0.8),
        bins=manifest.bins,
        classes=manifest.classes,
    )
