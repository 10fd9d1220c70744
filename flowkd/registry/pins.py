"""An artifact named so that it stays the same one: by version, and by the hash of its weights."""

from __future__ import annotations

import yaml
from pydantic import Field

from flowkd.config import Config, parse_config
from flowkd.data.facts import DataFacts
from flowkd.errors import StoreError
from flowkd.flows.configs import AnyFlowConfig
from flowkd.flows.flow import Flow
from flowkd.registry.artifact_manifest import metrics_of, read_artifact_manifest, read_part, resolve
from flowkd.registry.artifacts import ArtifactConfig, load_artifact
from flowkd.store.store import Store

WEIGHTS, CONFIG = "weights.safetensors", "config.yaml"


class PinnedArtifact(Config):
    """An artifact that a run refers to, whatever its alias points at later.

    Attributes:
        reference: `models/NAME@VERSION`, or `runs/RUN`.
        weights: SHA-256 of its weights.
        flow: Config of its flow, complete.
        bins: Number of integer values of the data that it was trained on; None if continuous.
        data: What these data are called, and the range of its context.
        remarks: What its user should know, a sentence each.
        steps: Optimiser steps that it was trained for; None where that is unknown.
    """

    reference: str
    weights: str
    flow: AnyFlowConfig
    bins: int | None = None
    data: DataFacts = DataFacts()
    remarks: list[str] = Field(default_factory=list)
    steps: int | None = None


def pin_artifact(store: Store, reference: str) -> PinnedArtifact:
    """Looks an artifact up once, without its weights.

    Args:
        store: Where to look.
        reference: `models/NAME@ALIAS`, `models/NAME@VERSION`, or `runs/RUN`.

    Raises:
        StoreError: Nothing of that name.
        ConfigError: Its config is not one that this version reads.
    """
    folder = resolve(store, reference)
    manifest = read_artifact_manifest(store, folder)
    path = manifest.part(folder, CONFIG)
    values = yaml.safe_load(read_part(store, folder, manifest, CONFIG))
    config = parse_config(ArtifactConfig, values, source=path)
    kind, name, version = folder.split("/")
    return PinnedArtifact(
        reference=f"{kind}/{name}" if kind == "runs" else f"{kind}/{name}@{version}",
        weights=manifest.parts[WEIGHTS].sha256,
        flow=config.flow,
        bins=manifest.lineage.bins,
        data=manifest.data,
        remarks=manifest.remarks,
        steps=metrics_of(store, folder, manifest).get("steps"),
    )


def load_pinned(store: Store, pinned: PinnedArtifact) -> Flow:
    """Returns the flow of a pinned artifact, gradients off.

    Raises:
        StoreError: It is gone, damaged, or another one than was pinned.
    """
    artifact = load_artifact(store, pinned.reference)
    found = artifact.manifest.parts[WEIGHTS].sha256
    if found != pinned.weights:
        raise StoreError(
            f"{pinned.reference} of {store.uri}: expected weights of SHA-256 "
            f"{pinned.weights[:12]}, as when the run began; got {found[:12]}: it was trained anew; "
            f"start a run of another name"
        )
    return artifact.flow
