"""What in a store was made from a data set, and would not be explained by another of its name."""

from __future__ import annotations

import yaml

from flowkd.registry.artifacts import read_artifact_manifest
from flowkd.registry.catalog import model_versions
from flowkd.store.store import Store


def dependents(store: Store, dataset: str) -> list[str]:
    """Returns the references of the runs and published models that were trained on a data set."""
    runs = [f"runs/{run}" for run in store.list("runs") if _dataset_of(store, run) == dataset]
    models = [
        version.reference
        for version in model_versions(store)
        if read_artifact_manifest(
            store, f"models/{version.model}/{version.version}"
        ).lineage.dataset
        == dataset
    ]
    return runs + models


def _dataset_of(store: Store, run: str) -> object:
    path = ("runs", run, "config.yaml")
    values = yaml.safe_load(store.read(*path)) if store.exists(*path) else None
    return values.get("dataset") if isinstance(values, dict) else None
