"""Removing a version of a model to which no alias points and of which nothing was made."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from flowkd.errors import StoreError
from flowkd.registry.aliases import removals
from flowkd.registry.artifact_manifest import read_artifact_manifest, resolve
from flowkd.registry.catalog import aliases_of, listed, model_versions, said_of
from flowkd.store.holdings import current_folder
from flowkd.store.locks import acquire_lock
from flowkd.store.sealed import write_sealed
from flowkd.store.store import Store


def remove_version(store: Store, model: str, version: str) -> None:
    """Removes a version of a model: first its manifest, so that no half of it is ever visible.

    An alias that is moved to it meanwhile either keeps it, or stays where it was. A removal that
    was cut short is ended by another one.

    Raises:
        StoreError: No such version; an alias points at it; an artifact was taught by it, or a run
            or search that has not ended learns from it.
    """
    folder = f"models/{model}/{version}"
    begun = store.exists(removals(model, version), "removed.json")
    if not (begun and store.list(folder)) and resolve(store, f"models/{model}@{version}") != folder:
        raise StoreError(f"expected a version of model {model!r}; got the alias {version!r}")
    lock = acquire_lock(store, f"{removals(model, version)}/locks")
    try:
        # After the lock is there for everybody to see: flowkd.registry.aliases tells why.
        _check_unused(store, model, version)
    except BaseException:
        store.remove(lock)
        raise
    told = {"version": version, "time": datetime.now(UTC).isoformat(timespec="seconds")}
    write_sealed(store, told, removals(model, version), "removed.json")
    # Should this fail, the lock stays until it expires: what was sent may arrive yet.
    store.remove(folder, "manifest.json")
    store.remove(lock)
    store.remove(folder)


def _check_unused(store: Store, model: str, version: str) -> None:
    targets, damage = aliases_of(store, model)
    pointing = [alias for alias, target in targets.items() if target == version]
    if pointing:
        raise StoreError(
            f"models/{model}@{version} is pointed at by alias {listed(pointing)}: move it to "
            f"another version first"
        )
    for alias, reason in damage.items():
        raise StoreError(
            f"models/{model}@{version} may be what alias {alias!r} points at, which is damaged: "
            f"{reason}"
        )
    taught = list(_taught_by(store, model, version))
    if taught:
        raise StoreError(
            f"models/{model}@{version} is the teacher of {listed(taught)}, whose lineage would "
            f"lead nowhere: remove these first"
        )
    learning = list(_learning_from(store, f"models/{model}@{version}"))
    if learning:
        raise StoreError(
            f"models/{model}@{version} is what {listed(learning)} learns from, and has not ended: "
            f"let it end, or remove it first"
        )


def _taught_by(store: Store, model: str, version: str) -> Iterator[str]:
    """Yields the references of the artifacts that a version has taught."""
    folder = f"models/{model}/{version}"
    found = model_versions(store)
    artifacts = {each.reference: f"models/{each.model}/{each.version}" for each in found}
    for run in store.list("runs"):
        if store.exists("runs", run, "result", "manifest.json"):
            artifacts[f"runs/{run}"] = f"runs/{run}/result"
    for reference, place in artifacts.items():
        if place != folder and _names_as_teacher(store, place, folder):
            yield reference


def _names_as_teacher(store: Store, place: str, folder: str) -> bool:
    """Tells whether the artifact at a place was taught by that of a folder."""
    _, model, version = folder.split("/")
    try:
        manifest = read_artifact_manifest(store, place)
    except StoreError as error:
        said_of(error)
        # Whatever is damaged of it, it should be in one of these where it is true.
        return any(
            _holds(store, f"models/{model}@{version}", place, name)
            for name in ("manifest.json", "config.yaml", "README.md")
        )
    if manifest.lineage.teacher is None:
        return False
    try:
        return resolve(store, manifest.lineage.teacher) == folder
    except StoreError as error:
        said_of(error)
        return False  # it is gone already


def _learning_from(store: Store, reference: str) -> Iterator[str]:
    """Yields the runs and searches that have not ended, and whose records pin a version."""
    for run in store.list("runs"):
        ended = store.exists("runs", run, "result", "manifest.json")
        if not ended and _holds(store, reference, "runs", run, "resolved.yaml"):
            yield f"runs/{run}"
    for name in store.list("searches"):
        folder = current_folder(store, f"searches/{name}")
        done = _holds(store, '"stage": "done"', folder, "status.json")
        if not done and _holds(store, reference, folder, "teacher.json"):
            yield f"searches/{name}"


def _holds(store: Store, text: str, *parts: str) -> bool:
    """Tells whether a text is in an object, whose other bytes may be damaged."""
    return store.exists(*parts) and text.encode() in store.read(*parts)
