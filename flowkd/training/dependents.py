"""What in a store was made from a data set, and would not be explained by another of its name."""

from __future__ import annotations

import yaml

from flowkd.errors import StoreError
from flowkd.registry.artifact_manifest import read_artifact_manifest
from flowkd.registry.catalog import model_versions, said_of
from flowkd.store.sealed import read_sealed_text
from flowkd.store.store import Store


def dependents(store: Store, dataset: str) -> list[str]:
    """Returns the references of the runs and published models that were trained on a data set.

    Those whose records are damaged are not among them: nobody knows.
    """
    runs = [f"runs/{run}" for run in store.list("runs") if _dataset_of(store, run) == dataset]
    models = [
        version.reference
        for version in model_versions(store)
        if version.damage is None
        and read_artifact_manifest(
            store, f"models/{version.model}/{version.version}"
        ).lineage.dataset
        == dataset
    ]
    return runs + models


def _dataset_of(store: Store, run: str) -> object:
    path = ("runs", run, "config.yaml")
    try:
        values = yaml.safe_load(read_sealed_text(store, *path)) if store.exists(*path) else None
    except StoreError as error:
        said_of(error)
        return None
    return values.get("dataset") if isinstance(values, dict) else None
