"""Publishing: a finished run's result becomes a version of a model, with an alias."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from flowkd.config import Config
from flowkd.errors import ConfigError
from flowkd.flows.round_trip import MAX_ROUND_TRIP_ERROR
from flowkd.names import ModelName
from flowkd.registry.artifacts import load_artifact, publish_artifact
from flowkd.registry.checks import check_beats_gaussian
from flowkd.registry.held_out import held_out
from flowkd.registry.publication import publish_once, without_rates
from flowkd.store.sealed import read_sealed
from flowkd.store.store import Store


class PublishConfig(Config):
    """What to publish.

    Attributes:
        model: Name of the model.
        source: Reference of a finished run, `runs/RUN`; of several, the best on validation.
        alias: Alias that is moved to the new version; default `best`.
        evaluation: Name of an evaluation whose figures of the source become the metric `test`;
            default none.
        search: Name of the search that chose it, for the lineage; default none.
        max_round_trip_error: The most that the flow may be off after a round trip between x and z,
            as it is served, on validation rows and on samples; default 0.01.
        force: Whether it is published although it is further off, or worse on validation than a
            Gaussian of the training rows; the model's card notes it.
    """

    model: ModelName
    source: str | Annotated[tuple[str, ...], Field(min_length=1)]
    alias: ModelName = "best"
    evaluation: str | None = None
    search: str | None = None
    max_round_trip_error: float = Field(MAX_ROUND_TRIP_ERROR, gt=0)
    force: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """References of the runs of which one is published."""
        return (self.source,) if isinstance(self.source, str) else self.source


def publish_run(
    config: PublishConfig, store: Store, check: Callable[[], None] = lambda: None
) -> str:
    """Publishes a run's result and returns the version's name: the same for the same content.

    Args:
        config: What to publish.
        store: Holds the run, and is written to.
        check: Called once this process holds the publication; raises FencedError where the caller
            may not go on. Default nothing.

    Raises:
        HeldError: Another process publishes it.
        FencedError: Another process has taken it over, because this one stood still.
        StoreError: No such run, or a damaged one.
        ConfigError: The evaluation has no figures of this source.
        DataError: A data set that is damaged.
        RefusedError: A flow that does not undo itself, or that is worse than a Gaussian.

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
    source = best_of(config.sources, store)
    artifact = load_artifact(store, source)
    metrics = dict(artifact.metrics)
    if config.evaluation:
        metrics["test"] = _evaluated(config.evaluation, source, store)
    remarks, rows = list(artifact.manifest.remarks), None
    judged = held_out(artifact, store)
    if isinstance(judged, str):
        remarks.append(judged)
    else:
        rows = judged.rows
        remarks += check_beats_gaussian(
            config.model, judged.bits_per_dim, judged.gaussian_bits_per_dim, error=judged.error,
            train_rows=judged.train_rows, force=config.force,
        )  # fmt: skip
        metrics["gaussian_bits_per_dim"] = judged.gaussian_bits_per_dim
    lineage = artifact.manifest.lineage.model_copy(update={"search": config.search})

    def write(manifest_as: str) -> str:
        return publish_artifact(
            store,
            config.model,
            artifact.flow,
            artifact.config.flow,
            rows=rows,
            max_round_trip_error=config.max_round_trip_error,
            force=config.force,
            training=artifact.config.training,
            metrics=metrics,
            remarks=remarks,
            lineage=lineage,
            data=artifact.manifest.data,
            manifest_as=manifest_as,
        )

    asked = {"evaluation": config.evaluation, **lineage.model_dump(mode="json")}
    asked["weights"] = artifact.manifest.parts["weights.safetensors"].sha256
    content = {
        **asked, "metrics": without_rates(metrics), "remarks": remarks, "force": config.force,
        "max_round_trip_error": config.max_round_trip_error,
    }  # fmt: skip
    return publish_once(store, config.model, config.alias, write, asked, content, check)


def best_of(sources: Sequence[str], store: Store) -> str:
    """Returns the run whose result is the best on validation rows; raises StoreError for none."""
    if len(sources) == 1:
        return sources[0]
    bits = {
        source: float(load_artifact(store, source).metrics["validation_bits_per_dim"])
        for source in sources
    }
    return min(bits, key=lambda source: bits[source])


def _evaluated(evaluation: str, source: str, store: Store) -> dict[str, object]:
    figures = read_sealed(store, "evaluations", f"{evaluation}.json")
    for found in figures.values():
        if found["reference"] == source:
            return _without_groups(found)
    known = ", ".join(found["reference"] for found in figures.values())
    raise ConfigError(f"evaluation {evaluation!r} has no {source!r}; it has {known}")


def _without_groups(found: dict[str, Any]) -> dict[str, object]:
    """Returns a flow's figures with the numbers of rows and groups in place of their bits.

    Of the quality of its samples, the values are kept.
    """
    by_group, quality = found["by_group"], found.get("quality")
    left_out = ("by_group", "validation", "quality")
    kept = {key: value for key, value in found.items() if key not in left_out}
    if quality:
        kept |= {name: figure["value"] for name, figure in quality["figures"].items()}
    return {**kept, "rows": sum(by_group["rows"]), "groups": by_group["groups"]}
