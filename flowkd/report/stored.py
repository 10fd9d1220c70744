"""The page of a comparison that the store keeps, `evaluations/NAME.html`."""

from __future__ import annotations

from collections.abc import Mapping

from flowkd.evaluation.config import EvaluationConfig
from flowkd.registry.aliases import alias_version
from flowkd.registry.artifact_manifest import read_artifact_manifest
from flowkd.report.config import ReportConfig
from flowkd.report.from_store import comparison_report, read_comparison
from flowkd.report.page import render
from flowkd.store.store import Store


def write_report(config: ReportConfig, store: Store, facts: Mapping[str, str] | None = None) -> str:
    """Writes the page of a comparison to the store; returns its path there.

    Args:
        config: Which one.
        store: Holds the comparison, and all that its page shows.
        facts: What else the page says of where its figures come from.

    Raises:
        StoreError: The comparison was not made, or something of it is no longer there.
        DataError: The data set is no longer there.
    """
    evaluation = read_comparison(store, config.name)
    label, model = _published(config, evaluation, store)
    report = comparison_report(
        evaluation, store, title=config.title, published=label, model=model, facts=facts
    )
    path = ("evaluations", f"{config.name}.html")
    store.write(render(report).encode(), *path)
    return "/".join(path)


def read_report(name: str, store: Store) -> str | None:
    """Returns the page of a comparison that the store keeps; None where there is none."""
    path = ("evaluations", f"{name}.html")
    return store.read(*path).decode() if store.exists(*path) else None


def _published(
    config: ReportConfig, evaluation: EvaluationConfig, store: Store
) -> tuple[str | None, str | None]:
    """Returns label and reference of the flow that is published; None where none of them is."""
    if config.model is None:
        return None, None
    version = alias_version(store, config.model, config.alias)
    if version is None:
        return None, None
    run = read_artifact_manifest(store, f"models/{config.model}/{version}").lineage.run
    labels = [label for label, where in evaluation.flows.items() if where == f"runs/{run}"]
    return (labels[0], f"models/{config.model}@{version}") if labels else (None, None)
