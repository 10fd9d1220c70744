"""Artifacts: a trained flow in the store, as immutable files that a manifest names and verifies.

`manifest.json` is written last, and names each part with its size and SHA-256: a folder without
one is no artifact. Nothing that is read is ever executed.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import safetensors.torch
import yaml
from pydantic import Field
from safetensors import SafetensorError

from flowkd.config import Config, dump_config, parse_config
from flowkd.data.batch import Batch
from flowkd.data.facts import DataFacts
from flowkd.errors import ConfigError, StoreError
from flowkd.flows.build import build_flow
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.family import FlowConfig
from flowkd.flows.flow import Flow
from flowkd.flows.round_trip import MAX_ROUND_TRIP_ERROR
from flowkd.names import is_name
from flowkd.registry.aliases import alias_names, alias_version
from flowkd.registry.card import Lineage, model_card
from flowkd.registry.checks import check_round_trip
from flowkd.store.sealed import read_sealed, write_sealed
from flowkd.store.store import Store

FORMAT: Literal[1] = 1
PARTS = ("config.yaml", "weights.safetensors", "metrics.json", "README.md")


class ArtifactPart(Config):
    """One file of an artifact.

    Attributes:
        sha256: Hash of its bytes, in hex.
        bytes: Size in bytes.
    """

    sha256: str
    bytes: int


class ArtifactManifest(Config):
    """The file `manifest.json`: what an artifact consists of, and where it comes from.

    Attributes:
        format: Version of this format.
        created: When it was written, ISO 8601.
        within: Folder of its parts in the artifact's; default none, they are beside the manifest.
        parts: Each other file, by name.
        lineage: What it was made from.
        data: What the values are called that the flow was trained on, and the range of its context.
        remarks: What its user should know, a sentence each.
    """

    format: Literal[1] = FORMAT
    created: str
    within: str = ""
    parts: dict[str, ArtifactPart]
    lineage: Lineage = Lineage()
    data: DataFacts = DataFacts()
    remarks: list[str] = Field(default_factory=list)

    def part(self, folder: str, name: str) -> str:
        """Returns the path of a part of the artifact in a folder."""
        return "/".join(filter(None, (folder, self.within, name)))


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
    if store.exists(place, "manifest.json"):
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
        name: ArtifactPart(sha256=_hash(content), bytes=len(content))
        for name, content in contents.items()
    }
    for name, content in contents.items():
        store.write(content, place, name)
    for name, part in parts.items():
        _verify(store.read(place, name), part, f"{place}/{name}", store)
    manifest = ArtifactManifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        within=within,
        parts=parts,
        lineage=lineage,
        data=data,
        remarks=list(remarks),
    )
    write_sealed(store, manifest.model_dump(mode="json"), place, "manifest.json")
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


def versions(store: Store, name: str) -> list[str]:
    """Returns a model's complete versions, oldest first."""
    return [
        version
        for version in store.list("models", name)
        if version != "aliases" and store.exists("models", name, version, "manifest.json")
    ]


def resolve(store: Store, reference: str) -> str:
    """Returns the folder of an artifact.

    Args:
        store: Where to look.
        reference: `models/NAME@ALIAS`, `models/NAME@VERSION`, or `runs/RUN`.

    Raises:
        StoreError: Nothing of that name; the message lists what there is.
    """
    kind, _, rest = reference.partition("/")
    name, _, version = rest.partition("@")
    known = kind in ("models", "runs") and is_name(name)
    if not known or (kind == "runs") == ("@" in rest):
        raise StoreError(f"expected models/NAME@VERSION_OR_ALIAS or runs/RUN; got {reference!r}")
    if kind == "runs":
        if not store.exists("runs", name, "result", "manifest.json"):
            finished = [
                run
                for run in store.list("runs")
                if store.exists("runs", run, "result", "manifest.json")
            ]
            raise StoreError(
                f"no finished run {name!r} in {store.uri}; finished are: "
                f"{', '.join(finished) or 'none'}"
            )
        return f"runs/{name}/result"
    if is_name(version):
        version = alias_version(store, name, version) or version
    if not is_name(version) or not store.exists("models", name, version, "manifest.json"):
        aliases, complete = alias_names(store, name), versions(store, name)
        raise StoreError(
            f"no {version!r} of model {name!r} in {store.uri}; aliases: "
            f"{', '.join(aliases) or 'none'}; versions: {', '.join(complete) or 'none'}"
        )
    return f"models/{name}/{version}"


def read_artifact_manifest(store: Store, folder: str) -> ArtifactManifest:
    """Returns the manifest of the artifact in a folder; raises StoreError if it is not one."""
    values = read_sealed(store, folder, "manifest.json")
    try:
        return parse_config(ArtifactManifest, values, source=f"{folder}/manifest.json")
    except ConfigError as error:
        raise StoreError(str(error)) from error


def read_part(store: Store, folder: str, manifest: ArtifactManifest, name: str) -> bytes:
    """Returns a part of an artifact; raises StoreError unless it is what its manifest says."""
    path = manifest.part(folder, name)
    data = store.read(path)
    _verify(data, manifest.parts[name], path, store)
    return data


def read_metrics(store: Store, folder: str) -> dict[str, Any]:
    """Returns the figures of the artifact in a folder; raises StoreError where there are none."""
    manifest = read_artifact_manifest(store, folder)
    values = json.loads(read_part(store, folder, manifest, "metrics.json"))
    return values if isinstance(values, dict) else {}


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


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def mismatch(data: bytes, part: ArtifactPart) -> str | None:
    """Returns in words how bytes differ from what a manifest says of them; None if they do not."""
    if len(data) == part.bytes and _hash(data) == part.sha256:
        return None
    return (
        f"expected {part.bytes} bytes of SHA-256 {part.sha256[:12]}; got {len(data)} of "
        f"{_hash(data)[:12]}"
    )


def _verify(data: bytes, part: ArtifactPart, path: str, store: Store) -> None:
    found = mismatch(data, part)
    if found:
        raise StoreError(
            f"{path} of {store.uri} is not what its manifest says: {found}; publish it again"
        )
