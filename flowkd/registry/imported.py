"""A flow of another library becomes a version of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from flowkd.config import Config
from flowkd.data.facts import DataFacts
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.errors import DataError
from flowkd.flows.build import config_of, count_parameters
from flowkd.flows.flow import Flow
from flowkd.flows.round_trip import MAX_ROUND_TRIP_ERROR
from flowkd.foreign.conversion import converted
from flowkd.foreign.libraries import origin_of
from flowkd.foreign.source import ForeignFlow, load_module, weights_hash
from flowkd.names import ModelName
from flowkd.registry.aliases import alias_version, set_alias
from flowkd.registry.artifact_manifest import read_artifact_manifest
from flowkd.registry.artifacts import publish_artifact
from flowkd.registry.card import Lineage
from flowkd.registry.checks import check_beats_gaussian
from flowkd.registry.held_out import fits, judged
from flowkd.store.store import Store

ROWS = 1000  # of the validation split, as a run has by default


class ImportConfig(Config):
    """What to take over from another library.

    Attributes:
        model: Name of the model.
        source: Code that builds the flow, and its weights.
        dataset: Name of the data set that it was trained on, by whose validation rows it is judged
            and whose names it takes; default none.
        alias: Alias that is moved to the new version; default `best`.
        max_round_trip_error: The most that the flow may be off after a round trip between x and z,
            as it is served; default 0.01.
        force: Whether it is published although it is further off, or worse on the validation rows
            than a Gaussian; the model's card notes it.
    """

    model: ModelName
    source: ForeignFlow
    dataset: str | None = None
    alias: ModelName = "best"
    max_round_trip_error: float = Field(MAX_ROUND_TRIP_ERROR, gt=0)
    force: bool = False


@dataclass(frozen=True)
class Imported:
    """What came of it.

    Attributes:
        version: Name of the version.
        origin: Library and class that it was.
        parameters: Number of trainable values.
        metrics: Figures on the validation rows, if a data set was named.
    """

    version: str
    origin: str
    parameters: int
    metrics: dict[str, Any]


def import_model(config: ImportConfig, store: Store) -> Imported:
    """Converts a flow of another library and publishes it, and returns what came of it.

    Raises:
        ConfigError: Its library is not installed, or what `load_module` raises.
        ConversionError: A layer that flowkd has not, or a density that differs.
        DataError: No such data set, or one of another shape.
        RefusedError: A flow that does not undo itself, or that is worse than a Gaussian.
        StoreError: A store that cannot be written.
    """
    manifest = None if config.dataset is None else read_manifest(store, config.dataset)
    module = load_module(config.source)
    flow, origin = converted(module, config.source), origin_of(module)
    remarks, metrics, rows = [], {}, None
    if manifest is not None:
        _check_fits(flow, manifest)
        found = judged(flow, manifest, store, None, ROWS, seed=0)
        rows = found.rows
        metrics = {
            "validation_bits_per_dim": found.bits_per_dim,
            "gaussian_bits_per_dim": found.gaussian_bits_per_dim,
        }
        remarks += check_beats_gaussian(
            config.model, found.bits_per_dim, found.gaussian_bits_per_dim, error=found.error,
            train_rows=found.train_rows, force=config.force,
        )  # fmt: skip
    facts = DataFacts.of(manifest)
    version = publish_artifact(
        store,
        config.model,
        flow,
        config_of(flow),
        rows=rows,
        max_round_trip_error=config.max_round_trip_error,
        force=config.force,
        metrics=metrics,
        remarks=remarks,
        lineage=Lineage(
            dataset=config.dataset,
            origin=f"{origin}, {_source(config.source)}",
            bins=None if manifest is None else manifest.bins,
        ),
        data=facts if flow.context.width else facts.without_context(),
    )
    set_alias(store, config.model, config.alias, version)
    return Imported(version, origin, count_parameters(flow), metrics)


def imported_before(config: ImportConfig, store: Store) -> str | None:
    """Returns the version that the alias points at, if it came of the same builder and weights.

    Raises:
        ConfigError: No such file of weights.
    """
    version = alias_version(store, config.model, config.alias)
    if version is None:
        return None
    origin = read_artifact_manifest(store, f"models/{config.model}/{version}").lineage.origin
    return version if origin is not None and origin.endswith(_source(config.source)) else None


def _source(source: ForeignFlow) -> str:
    return f"{source.build}, weights {weights_hash(source.weights)[:12]}"


def _check_fits(flow: Flow, manifest: Manifest) -> None:
    if fits(flow, manifest):
        return
    context = (manifest.classes or 0) or (manifest.context_size or 0)
    raise DataError(
        f"dataset: expected one of event_shape {flow.event_shape} given {flow.context}; got "
        f"{manifest.name!r} of {tuple(manifest.event_shape)} with a context of {context or 'none'}"
    )
