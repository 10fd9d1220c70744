"""From a run's result to a version of a model that others may rely on."""

from __future__ import annotations

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
        alias: Is pointed at the new version.
        evaluation: Name of an evaluation whose figures of this source go into the artifact.
        search: Name of the search that chose it, for its lineage.
    """

    model: ModelName
    source: str
    alias: ModelName = "best"
    evaluation: str | None = None
    search: str | None = None


def publish(config: PublishConfig, store: Store) -> str:
    """Publishes a run's result and returns the version's name.

    Raises:
        StoreError: No such run, or a damaged one.
        ConfigError: The evaluation has no figures of this source.
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
    )
    set_alias(store, config.model, config.alias, version)
    return version


def _evaluated(evaluation: str, source: str, store: Store) -> dict[str, object]:
    figures = store.read_json("evaluations", f"{evaluation}.json")
    for found in figures.values():
        if found["reference"] == source:
            return found
    known = ", ".join(found["reference"] for found in figures.values())
    raise ConfigError(f"evaluation {evaluation!r} has no {source!r}; it has {known}")
