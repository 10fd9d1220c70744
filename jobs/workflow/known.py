"""What the store has already of a workflow's last stages, so that they are not done twice."""

from __future__ import annotations

from flowkd.errors import StoreError
from flowkd.evaluation.config import EvaluationConfig
from flowkd.evaluation.figures import FlowFigures
from flowkd.registry.artifact_manifest import (
    read_artifact_manifest,
    read_metrics,
    resolve,
    versions,
)
from flowkd.registry.publish import PublishConfig
from flowkd.report.from_store import read_comparison
from flowkd.store.sealed import read_sealed
from flowkd.store.store import Store


def known_figures(config: EvaluationConfig, store: Store) -> dict[str, FlowFigures] | None:
    """Returns the figures of the very same comparison, of the flows as they are now, if any."""
    path = ("evaluations", f"{config.name}.json")
    if not store.exists(*path) or not store.exists("evaluations", f"{config.name}.yaml"):
        return None
    known = read_comparison(store, config.name)
    if known.model_copy(update={"tracking": config.tracking}) != config:
        return None
    figures = {label: FlowFigures.read(found) for label, found in read_sealed(store, *path).items()}
    now = {label: _created(store, reference) for label, reference in config.flows.items()}
    then = {label: found.created for label, found in figures.items()}
    return figures if then == now else None


def known_version(config: PublishConfig, source: str, store: Store) -> str | None:
    """Returns the version of a model that a run's result was published as, if it was.

    Args:
        config: Of the publication.
        source: Reference of the run, whose figures the version has from an evaluation.
        store: Where they are.
    """
    created = _created(store, source)
    for version in reversed(versions(store, config.model)):
        folder = f"models/{config.model}/{version}"
        try:
            run = read_artifact_manifest(store, folder).lineage.run
            test = read_metrics(store, folder).get("test", {})
        except StoreError:  # damaged: it is published again
            continue
        if f"runs/{run}" == source and test.get("created") == created:
            return version
    return None


def _created(store: Store, reference: str) -> str:
    return read_artifact_manifest(store, resolve(store, reference)).created
