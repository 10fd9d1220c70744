"""Publishes a run's result as a version of a model."""

from __future__ import annotations

from cluster.storage import StorageConfig
from flowkd.registry.aliases import alias_version
from flowkd.registry.publish import PublishConfig, publish_run
from jobs.cli.entry import run_job


def publish_model(config: PublishConfig, storage: StorageConfig) -> None:
    """Publish a run's result as a new version of a model and point an alias at it."""
    store = storage.store()
    version = publish_run(config, store)
    points = alias_version(store, config.model, config.alias)
    moved = "" if points == version else f", which was moved to {points} since"
    print(f"published models/{config.model}@{version}, alias {config.alias}{moved}")


if __name__ == "__main__":
    run_job(PublishConfig, publish_model, local=True)
