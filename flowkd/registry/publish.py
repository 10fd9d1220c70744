"""Publishing: a finished run's result becomes a version of a model, with an alias."""

from __future__ import annotations

from typing import Any

from flowkd.config import Config
from flowkd.errors import ConfigError
from flowkd.names import ModelName
from flowkd.registry.aliases import set_alias
from flowkd.registry.artifacts import load_artifact, publish_artifact
from flowkd.store.store import Store


class PublishConfig(Config):
    """What to publish.

    Attributes:
        model: Name of the model.
        source: Reference of a finished run, `runs/RUN`.
        alias: Alias that is moved to the new version; default `best`.
        evaluation: Name of an evaluation whose figures of the source become the metric `test`;
            default none.
        search: Name of the search that chose it, for the lineage; default none.
    """

    model: ModelName
    source: str
    alias: ModelName = "best"
    evaluation: str | None = None
    search: str | None = None


def publish_run(config: PublishConfig, store: Store) -> str:
    """Publishes a run's result and returns the version's name.

    Raises:
        StoreError: No such run, or a damaged one.
        ConfigError: The evaluation has no figures of this source.

    Examples:
        >>> from flowkd.flows.build import build_flow
        >>> from flowkd.flows.coupling import CouplingConfig
        >>> from flowkd.registry.artifacts import resolve, write_artifact
        >>> store = Store("memory://publish")
        >>> flow_config = CouplingConfig(event_shape=(2,), mean=0.0, scale=1.0, width=4)
        >>> flow = build_flow(flow_config)
        >>> _ = write_artifact(store, "runs/a/result", flow, flow_config)
        >>> version = publish_run(PublishConfig(model="photos", source="runs/a"), store)
        >>> resolve(store, "models/photos@best") == f"models/photos/{version}"
        True
        >>> store.remove()
    """
    artifact = load_artifact(store, config.source)
    metrics = dict(artifact.metrics)
    if config.evaluation:
        metrics["test"] = _evaluated(config.evaluation, config.source, store)
    version = publish_artifact(
        store,
        config.model,
        artifact.flow,
        artifact.config.flow,
        training=artifact.config.training,
        metrics=metrics,
        lineage=artifact.manifest.lineage.model_copy(update={"search": config.search}),
        data=artifact.manifest.data,
    )
    set_alias(store, config.model, config.alias, version)
    return version


def _evaluated(evaluation: str, source: str, store: Store) -> dict[str, object]:
    figures = store.read_json("evaluations", f"{evaluation}.json")
    for found in figures.values():
        if found["reference"] == source:
            return _without_groups(found)
    known = ", ".join(found["reference"] for found in figures.values())
    raise ConfigError(f"evaluation {evaluation!r} has no {source!r}; it has {known}")


def _without_groups(found: dict[str, Any]) -> dict[str, object]:
    """Returns a flow's figures with the numbers of rows and groups in place of their bits."""
    by_group = found["by_group"]
    kept = {key: value for key, value in found.items() if key not in ("by_group", "validation")}
    return {**kept, "rows": sum(by_group["rows"]), "groups": by_group["groups"]}
