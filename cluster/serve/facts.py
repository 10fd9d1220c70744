"""What a served model's values are called, as the data set says that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flowkd.data.manifest import read_manifest
from flowkd.errors import DataError
from flowkd.registry.artifacts import Artifact
from flowkd.store.store import Store


@dataclass(frozen=True)
class ModelFacts:
    """What a model's values are called; None for what is unknown.

    Attributes:
        columns: Names of a table's columns, in the order of x.
        units: Units of columns, by name, where they are known.
        class_names: Names of the classes that it is conditioned on, if they have any.
        context_columns: Names of the context's columns, in their order.
        context_minimum: Least value of each of them in the train split.
        context_maximum: Largest value of each of them in the train split.
    """

    columns: Sequence[str] | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    class_names: Sequence[str] | None = None
    context_columns: Sequence[str] | None = None
    context_minimum: Sequence[float] | None = None
    context_maximum: Sequence[float] | None = None


def facts_of(artifact: Artifact, store: Store) -> ModelFacts:
    """Returns the facts of the data set that an artifact names; unknown where it is gone."""
    dataset = artifact.manifest.lineage.dataset
    if dataset is None:
        return ModelFacts()
    try:
        manifest = read_manifest(store, dataset)
    except DataError:
        return ModelFacts()
    flow = artifact.flow
    if manifest.event_shape != flow.event_shape:
        return ModelFacts()
    facts = {key: getattr(manifest, key) for key in ("columns", "class_names")}
    if flow.context.width == (manifest.classes or manifest.context_size or 0):
        for key in ("context_columns", "context_minimum", "context_maximum"):
            facts[key] = getattr(manifest, key)
    return ModelFacts(**facts, units=getattr(manifest, "units", {}))
