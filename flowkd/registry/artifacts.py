"""Artifacts: a trained flow in the store, as immutable files that a manifest names and verifies.

`manifest.json` is written last, and names each part with its size and SHA-256: a folder without
one is no artifact. Nothing that is read is ever executed.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import safetensors.torch
import yaml
from pydantic import Field
from safetensors import SafetensorError

from flowkd.config import Config, dump_config, parse_config
from flowkd.data.batch import Batch
from flowkd.data.facts import DataFacts
from flowkd.errors import StoreError
from flowkd.flows.build import build_flow
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.flows.round_trip import MAX_ROUND_TRIP_ERROR
from flowkd.names import is_name
from flowkd.registry.artifact_manifest import (
    ArtifactManifest,
    ArtifactPart,
    hash_of,
    read_artifact_manifest,
    read_part,
    resolve,
    verify,
)
from flowkd.registry.card import Lineage, model_card
from flowkd.registry.checks import check_round_trip
from flowkd.store.sealed import write_sealed
from flowkd.store.store import Store

MANIFEST = "manifest.json"
PARTS = ("config.yaml", "weights.safetensors", "metrics.json", "README.md")


class ArtifactConfig(Config):
    """The part `config.yaml`.

    Attributes:
        flow: How to build the flow.
        training: The config of the training that made it; empty if there is none.
    """

    flow: AnyFlowConfig
    training: dict[str, Any] = Field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """A flow read back from the store.

    Attributes:
        reference: The reference it was loaded by, such as `models/photos@best`.
        version: Name of the version that the reference led to; `result` for a run's.
        flow: The flow with its weights, in eval mode, gradients off.
        config: How it was built and trained.
        metrics: Figures of its training and evaluation, by name.
        manifest: Its parts and its lineage.
    """

    reference: str
    version: str
    flow: Flow
    config: ArtifactConfig
    metrics: dict[str, Any]
    manifest: ArtifactManifest

    @property
    def pinned(self) -> str:
        """The reference that stays this one: `models/NAME@VERSION`, or `runs/RUN`."""
        name, _, alias = self.reference.partition("@")
        return f"{name}@{self.version}" if alias else name

    @property
    def columns(self) -> list[str] | None:
        """Names of the columns of x, in their order; None where they have none."""
        return self.manifest.data.columns

    def __repr__(self) -> str:
        return f"Artifact({self.reference}, version {self.version}, {self.flow!r})"


def write_artifact(
    store: Store,
    folder: str,
    flow: Flow,
    config: FlowConfig,
    *,
    training: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    lineage: Lineage | None = None,
    data: DataFacts | None = None,
    remarks: Sequence[str] = (),
    within: str = "",
    manifest_as: str = MANIFEST,
) -> ArtifactManifest:
    """Writes a flow below a folder of the store: parts, verification, then the manifest.

    Args:
        store: Where to write.
        folder: Path of the artifact, such as `runs/RUN/result`.
        flow: Weights to store.
        config: How the flow is built.
        training: Config of the training; default none.
        metrics: Figures by name; default none.
        lineage: What it was made from; default unknown.
        data: What its data are called, and the range of its context; default unknown.
        remarks: What its user should know; default nothing.
        within: Folder in the artifact's to write to, its manifest, too: who copies that into the
            artifact's folder makes it the artifact. Default none.
        manifest_as: What its manifest is called; until one called `manifest.json` is there, too,
            it is no artifact yet.

    Raises:
        StoreError: The folder holds an artifact already, or a part is not read back as written.

    Examples:
        >>> from flowkd.flows.build import build_flow
        >>> from flowkd.flows.coupling import CouplingConfig
        >>> store = Store("memory://artifacts")
        >>> config = CouplingConfig(event_shape=(2,), mean=0.0, scale=1.0, width=4)
        >>> manifest = write_artifact(store, "runs/a/result", build_flow(config), config)
        >>> sorted(manifest.parts)
        ['README.md', 'config.yaml', 'metrics.json', 'weights.safetensors']
        >>> resolve(store, "runs/a")
        'runs/a/result'
        >>> load_artifact(store, "runs/a").flow.event_shape
        (2,)
        >>> store.remove()
    """
    place = f"{folder}/{within}" if within else folder
    if store.exists(place, MANIFEST):
        raise StoreError(f"{place} of {store.uri} holds an artifact, and artifacts never change")
    whole = ArtifactConfig(flow=config, training=dict(training or {}))
    lineage, data = lineage or Lineage(), data or DataFacts()
    weights = {name: value.contiguous() for name, value in flow.state_dict().items()}
    contents = {
        "config.yaml": dump_config(whole).encode(),
        "weights.safetensors": safetensors.torch.save(weights),
        "metrics.json": json.dumps(dict(metrics or {}), indent=2).encode(),
        "README.md": model_card(folder, flow, dict(metrics or {}), lineage, data, remarks).encode(),
    }
    parts = {
        name: ArtifactPart(sha256=hash_of(content), bytes=len(content))
        for name, content in contents.items()
    }
    for name, content in contents.items():
        store.write(content, place, name)
    for name, part in parts.items():
        verify(store.read(place, name), part, f"{place}/{name}", store)
    manifest = ArtifactManifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        within=within,
        parts=parts,
        lineage=lineage,
        data=data,
        remarks=list(remarks),
    )
    write_sealed(store, manifest.model_dump(mode="json"), place, manifest_as)
    return manifest


def publish_artifact(
    store: Store,
    name: str,
    flow: Flow,
    config: FlowConfig,
    *,
    rows: Batch | None = None,
    max_round_trip_error: float = MAX_ROUND_TRIP_ERROR,
    force: bool = False,
    metrics: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
    **more: Any,
) -> str:
    """Writes a new version of a model and returns the version's name.

    Args:
        store: Where to write.
        name: Name of the model.
        flow: Weights to store.
        config: How the flow is built.
        rows: Data on which it has to undo itself, as on samples of its own; default none.
        max_round_trip_error: The most that it may be off then, as it is served.
        force: Whether a flow that is further off is published all the same, with a remark.
        metrics: Figures by name, to which `round_trip_error` is added.
        remarks: What its user should know; default nothing.
        **more: As for `write_artifact`.

    Raises:
        RefusedError: The flow is further off than that.
        StoreError: The model's name is none, or as `write_artifact` raises.
    """
    if not is_name(name):
        raise StoreError(
            f"expected a model name of letters, digits, '.', '_' and '-'; got {name!r}"
        )
    error, noted = check_round_trip(name, flow, rows, max_round_trip_error, force)
    version = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    metrics = {**(metrics or {}), "round_trip_error": error}
    folder = f"models/{name}/{version}"
    write_artifact(store, folder, flow, config, metrics=metrics, remarks=[*remarks, *noted], **more)
    return version


def load_artifact(store: Store, reference: str) -> Artifact:
    """Reads an artifact and verifies each part against its manifest.

    Args:
        store: Where to read.
        reference: `models/NAME@ALIAS`, `models/NAME@VERSION`, or `runs/RUN`.

    Raises:
        StoreError: Nothing of that name; a part that is missing, cut off or altered; weights
            that do not fit the config.
    """
    folder = resolve(store, reference)
    manifest = read_artifact_manifest(store, folder)
    if set(manifest.parts) != set(PARTS):
        raise StoreError(f"{folder}: expected parts {', '.join(PARTS)}; got {list(manifest.parts)}")
    contents = {name: read_part(store, folder, manifest, name) for name in manifest.parts}
    try:
        values = yaml.safe_load(contents["config.yaml"])
        metrics = json.loads(contents["metrics.json"])
    except (yaml.YAMLError, ValueError) as error:
        raise StoreError(f"{folder}: a part cannot be read: {error}") from error
    config = parse_config(ArtifactConfig, values, source=f"{folder}/config.yaml")
    flow = build_flow(config.flow)
    try:
        flow.load_state_dict(safetensors.torch.load(contents["weights.safetensors"]))
    except (SafetensorError, RuntimeError) as error:
        raise StoreError(f"{folder}: the weights do not fit the config: {error}") from error
    flow.eval().requires_grad_(False)
    flow.bins, flow.columns = manifest.lineage.bins, manifest.data.columns
    low, high = manifest.data.context_minimum, manifest.data.context_maximum
    flow.context_range = (tuple(low), tuple(high)) if low and high else None
    version = folder.rsplit("/", 1)[-1]
    return Artifact(reference, version, flow, config, metrics, manifest)
