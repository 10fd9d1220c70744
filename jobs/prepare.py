"""Prepares a data set in the store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cluster.storage import StorageConfig
from flowkd.config import load_config
from flowkd.data.importers.prepare import PrepareConfig
from jobs.checks import check_job
from jobs.cli.console import NOTHING_AGAINST_IT, CheckOnly, Overrides, Replace, StoreUri
from jobs.cli.entry import run_command
from jobs.importing import import_dataset


def prepare_dataset(
    config: Annotated[Path, typer.Option(help="YAML file; see jobs/configs.")],
    store: StoreUri = None,
    set_: Overrides = None,
    replace: Replace = False,
    check: CheckOnly = False,
) -> None:
    """Prepare a data set: Parquet shards and a manifest."""
    settings, storage = (
        load_config(PrepareConfig, config, set_ or ()),
        StorageConfig.from_uri(store),
    )
    check_job(settings, storage, replace=replace)
    if check:
        print(NOTHING_AGAINST_IT)
        return
    manifest = import_dataset(settings.root, storage.store(), replace=replace)
    rows = ", ".join(f"{name} {split.rows}" for name, split in manifest.splits.items())
    print(f"data set {manifest.name}: {manifest.event_shape}, rows: {rows}")


if __name__ == "__main__":
    run_command(prepare_dataset)
