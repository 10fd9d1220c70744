"""What a store holds of models: versions, aliases, damage; and how to remove what may go."""

from __future__ import annotations

from collections.abc import Iterator

from flowkd.config import Config
from flowkd.errors import StoreError
from flowkd.registry.aliases import alias_versions
from flowkd.registry.artifacts import (
    ArtifactManifest,
    mismatch,
    read_artifact_manifest,
    resolve,
    versions,
)
from flowkd.store.store import Store


class ModelVersion(Config):
    """A published version of a model.

    Attributes:
        model: Name of the model.
        version: Name of the version.
        aliases: Names of the aliases that point at it.
        created: When it was written, ISO 8601.
        bytes: Size of all its parts.
    """

    model: str
    version: str
    aliases: tuple[str, ...]
    created: str
    bytes: int

    @property
    def reference(self) -> str:
        """The reference it is loaded by, `models/MODEL@VERSION`."""
        return f"models/{self.model}@{self.version}"


def model_versions(store: Store, model: str | None = None) -> list[ModelVersion]:
    """Returns the complete versions of a model, or of all, oldest first.

    Raises:
        StoreError: No model of this name.
    """
    known = store.list("models")
    if model is not None and model not in known:
        raise StoreError(f"no model {model!r} in {store.uri}; there are {_listed(known)}")
    return [found for name in ([model] if model else known) for found in _versions_of(store, name)]


def find_damage(store: Store, reference: str) -> list[str]:
    """Reads every part of an artifact again; returns what is not as its manifest says, in words.

    Raises:
        StoreError: Nothing of that name, or its manifest cannot be read.
    """
    folder = resolve(store, reference)
    damage = []
    manifest = read_artifact_manifest(store, folder)
    for name, part in manifest.parts.items():
        path = manifest.part(folder, name)
        if not store.exists(path):
            damage.append(f"{path}: expected {part.bytes} bytes; it is missing")
            continue
        found = mismatch(store.read(path), part)
        if found:
            damage.append(f"{path}: {found}")
    return damage


def remove_version(store: Store, model: str, version: str) -> None:
    """Removes a version of a model: first its manifest, so that no half of it is ever visible.

    Raises:
        StoreError: No such version; an alias points at it; an artifact was taught by it.
    """
    folder = resolve(store, f"models/{model}@{version}")
    if not folder.endswith(f"/{version}"):
        raise StoreError(f"expected a version of model {model!r}; got the alias {version!r}")
    pointing = [
        alias for alias, target in alias_versions(store, model).items() if target == version
    ]
    if pointing:
        raise StoreError(
            f"models/{model}@{version} is pointed at by alias {_listed(pointing)}: move it to "
            f"another version first"
        )
    taught = [name for name, manifest in _artifacts(store) if _teacher(store, manifest) == folder]
    if taught:
        raise StoreError(
            f"models/{model}@{version} is the teacher of {_listed(taught)}, whose lineage would "
            f"lead nowhere: remove these first"
        )
    store.remove(folder, "manifest.json")
    store.remove(folder)


def _versions_of(store: Store, model: str) -> Iterator[ModelVersion]:
    aliases = alias_versions(store, model)
    for version in versions(store, model):
        manifest = read_artifact_manifest(store, f"models/{model}/{version}")
        yield ModelVersion(
            model=model,
            version=version,
            aliases=tuple(alias for alias, target in aliases.items() if target == version),
            created=manifest.created,
            bytes=sum(part.bytes for part in manifest.parts.values()),
        )


def _artifacts(store: Store) -> Iterator[tuple[str, ArtifactManifest]]:
    """Yields the reference and manifest of every artifact, of models and of finished runs."""
    for found in model_versions(store):
        folder = f"models/{found.model}/{found.version}"
        yield found.reference, read_artifact_manifest(store, folder)
    for run in store.list("runs"):
        if store.exists("runs", run, "result", "manifest.json"):
            yield f"runs/{run}", read_artifact_manifest(store, f"runs/{run}/result")


def _teacher(store: Store, manifest: ArtifactManifest) -> str | None:
    """Returns the folder of an artifact's teacher, if that is still there."""
    if manifest.lineage.teacher is None:
        return None
    try:
        return resolve(store, manifest.lineage.teacher)
    except StoreError:
        return None


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none"
