"""Imports a data set, and tells what depends on one that it would replace."""

from __future__ import annotations

import sys

from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.prepare import DatasetExistsError, kept_manifest, prepare
from flowkd.data.manifest import Manifest, dataset_names
from flowkd.store.store import Store
from flowkd.training.dependents import dependents

SHOWN = 10


def import_dataset(config: ImporterConfig, store: Store, *, replace: bool = False) -> Manifest:
    """Imports a data set, unless it is there.

    Raises:
        DatasetExistsError: There is another one of this name; what depends on it is named.
        DataError: The source is missing or faulty.
    """
    try:
        kept_manifest(config, store)
    except DatasetExistsError as error:
        found = _listed(dependents(store, config.name))
        if not replace:
            raise DatasetExistsError(f"{error}; what was trained on it: {found}") from error
        if config.name in dataset_names(store):
            print(f"replaced {config.name!r}, on which were trained: {found}", file=sys.stderr)
    return prepare(config, store, replace=replace)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (", ".join(names[:SHOWN]) or "nothing") + more
