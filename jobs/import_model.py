"""Takes over a flow of another library as a version of a model."""

from __future__ import annotations

from cluster.storage import StorageConfig
from flowkd.registry.imported import ImportConfig, import_model, imported_before
from jobs.cli.entry import run_job


def take_over(config: ImportConfig, storage: StorageConfig) -> None:
    """Publish a flow of another library, unless the same weights were taken over before."""
    store = storage.store()
    known = imported_before(config, store)
    if known is not None:
        print(f"models/{config.model}@{known}, taken over before")
        return
    found = import_model(config, store)
    print(f"models/{config.model}@{found.version} is {found.origin}, of equal log_prob")


if __name__ == "__main__":
    run_job(ImportConfig, take_over, local=True)
