"""What a store holds of models: versions, aliases, and what is damaged of them."""

from __future__ import annotations

from collections.abc import Iterator

from flowkd.config import Config
from flowkd.errors import StoreError
from flowkd.registry.aliases import alias_names, alias_version
from flowkd.registry.artifact_manifest import mismatch, read_artifact_manifest, resolve, versions
from flowkd.store.retry import is_transient
from flowkd.store.store import Store


class ModelVersion(Config):
    """A published version of a model.

    Attributes:
        model: Name of the model.
        version: Name of the version.
        aliases: Names of the aliases that point at it.
        created: When it was written, ISO 8601; None where its manifest cannot be read.
        bytes: Size of all its parts; None where its manifest cannot be read.
        damage: Why its manifest cannot be read; None where it can.
    """

    model: str
    version: str
    aliases: tuple[str, ...]
    created: str | None = None
    bytes: int | None = None
    damage: str | None = None

    @property
    def reference(self) -> str:
        """The reference it is loaded by, `models/MODEL@VERSION`."""
        return f"models/{self.model}@{self.version}"


def model_versions(store: Store, model: str | None = None) -> list[ModelVersion]:
    """Returns the versions of a model, or of all, oldest first, the damaged ones among them.

    Raises:
        StoreError: No model of this name.
    """
    return [found for name in _models(store, model) for found in _versions_of(store, name)]


def damaged_aliases(store: Store, model: str | None = None) -> dict[str, str]:
    """Returns the references of all aliases that lead nowhere, each with the reason.

    Raises:
        StoreError: No model of this name.
    """
    found: dict[str, str] = {}
    for name in _models(store, model):
        targets, damage = aliases_of(store, name)
        for alias, version in targets.items():
            if not store.exists("models", name, version, "manifest.json"):
                damage[alias] = (
                    f"it points at version {version}, whose manifest is missing: restore that "
                    f"from a copy, or move the alias to another version"
                )
        found |= {f"models/{name}@{alias}": reason for alias, reason in damage.items()}
    return found


def aliases_of(store: Store, model: str) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the version of each alias of a model, and the reason of each that is damaged."""
    targets, damage = {}, {}
    for alias in alias_names(store, model):
        try:
            version = alias_version(store, model, alias)
        except StoreError as error:
            damage[alias] = said_of(error)
            continue
        if version is not None:
            targets[alias] = version
    return targets, damage


def find_damage(store: Store, reference: str) -> list[str]:
    """Reads every part of an artifact again; returns what is not as it was written, in words."""
    try:
        folder = resolve(store, reference)
        manifest = read_artifact_manifest(store, folder)
    except StoreError as error:
        return [said_of(error)]
    damage = []
    for name, part in manifest.parts.items():
        path = manifest.part(folder, name)
        try:
            found = mismatch(store.read(path), part)
        except StoreError as error:
            found = f"expected {part.bytes} bytes; {said_of(error)}"
            if not store.exists(path):
                found = f"expected {part.bytes} bytes; it is missing"
        if found:
            damage.append(f"{path}: {found}")
    return damage


def said_of(error: Exception) -> str:
    """Returns what an error says of a record; raises it again where it is the store's own.

    A record that cannot be read is that record's fault; a store that does not answer is not.
    """
    if is_transient(error):
        raise error
    return str(error)


def _models(store: Store, model: str | None) -> list[str]:
    known = store.list("models")
    if model is not None and model not in known:
        raise StoreError(f"no model {model!r} in {store.uri}; there are {listed(known)}")
    return [model] if model else known


def _versions_of(store: Store, model: str) -> Iterator[ModelVersion]:
    targets, _ = aliases_of(store, model)
    for version in versions(store, model):
        aliases = tuple(alias for alias, target in targets.items() if target == version)
        known = ModelVersion(model=model, version=version, aliases=aliases)
        try:
            manifest = read_artifact_manifest(store, f"models/{model}/{version}")
        except StoreError as error:
            yield known.model_copy(update={"damage": said_of(error)})
            continue
        size = sum(part.bytes for part in manifest.parts.values())
        yield known.model_copy(update={"created": manifest.created, "bytes": size})


def listed(names: list[str]) -> str:
    """Returns names in a row, or `none`."""
    return ", ".join(names) or "none"
