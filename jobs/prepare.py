"""Prepares a data set in the store."""

from __future__ import annotations

from cluster.storage import StorageConfig
from flowkd.data.importers.prepare import PrepareConfig, prepare
from jobs.cli.entry import run_job


def prepare_dataset(config: PrepareConfig, storage: StorageConfig) -> None:
    """Prepare a data set: Parquet shards and a manifest."""
    manifest = prepare(config.root, storage.store())
    rows = ", ".join(f"{name} {split.rows}" for name, split in manifest.splits.items())
    print(f"data set {manifest.name}: {manifest.event_shape}, rows: {rows}")


if __name__ == "__main__":
    run_job(PrepareConfig, prepare_dataset)
