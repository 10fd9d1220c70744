"""What an artifact's manifest says, where references lead, and parts that are what it says.

It needs no torch: lists of models, and removals, read manifests alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from flowkd.config import Config, parse_config
from flowkd.data.facts import DataFacts
from flowkd.errors import ConfigError, StoreError
from flowkd.names import is_name
from flowkd.registry.aliases import alias_names, alias_version
from flowkd.registry.card import Lineage
from flowkd.store.sealed import read_sealed
from flowkd.store.store import Store

FORMAT: Literal[1] = 1
SHOWN = 10  # versions that a message names


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


def versions(store: Store, name: str) -> list[str]:
    """Returns a model's complete versions, oldest first."""
    found = (path.split("/") for path in store.find("models", name))
    return [parts[0] for parts in found if parts[1:] == ["manifest.json"]]


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
            f"{', '.join(aliases) or 'none'}; versions: {_some(complete)}"
        )
    return f"models/{name}/{version}"


def _some(names: list[str]) -> str:
    """Returns names in a row, of many the last ones and how many there are."""
    if len(names) <= SHOWN:
        return ", ".join(names) or "none"
    return f"{len(names)}, the last of them {', '.join(names[-SHOWN:])}"


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
    verify(data, manifest.parts[name], path, store)
    return data


def read_metrics(store: Store, folder: str) -> dict[str, Any]:
    """Returns the figures of the artifact in a folder; raises StoreError where there are none."""
    return metrics_of(store, folder, read_artifact_manifest(store, folder))


def metrics_of(store: Store, folder: str, manifest: ArtifactManifest) -> dict[str, Any]:
    """Returns the figures of the artifact in a folder whose manifest is known."""
    values = json.loads(read_part(store, folder, manifest, "metrics.json"))
    return values if isinstance(values, dict) else {}


def hash_of(data: bytes) -> str:
    """Returns the SHA-256 of bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def mismatch(data: bytes, part: ArtifactPart) -> str | None:
    """Returns in words how bytes differ from what a manifest says of them; None if they do not."""
    if len(data) == part.bytes and hash_of(data) == part.sha256:
        return None
    return (
        f"expected {part.bytes} bytes of SHA-256 {part.sha256[:12]}; got {len(data)} of "
        f"{hash_of(data)[:12]}"
    )


def verify(data: bytes, part: ArtifactPart, path: str, store: Store) -> None:
    """Raises StoreError where bytes are not what a manifest says of a part."""
    found = mismatch(data, part)
    if found:
        raise StoreError(
            f"{path} of {store.uri} is not what its manifest says: {found}; publish it again"
        )
