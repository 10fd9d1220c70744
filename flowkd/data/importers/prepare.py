"""The registry of importers, and `prepare`: it imports a data set unless the store has it."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import Field, RootModel

from flowkd.credentials import values_without_credentials, without_credentials
from flowkd.data.importers.celeba import CelebaConfig
from flowkd.data.importers.cifar import CifarConfig
from flowkd.data.importers.density.bsds300 import Bsds300Config
from flowkd.data.importers.density.gas import GasConfig
from flowkd.data.importers.density.hepmass import HepmassConfig
from flowkd.data.importers.density.miniboone import MiniBooNEConfig
from flowkd.data.importers.density.power import PowerConfig
from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.fold import FoldConfig
from flowkd.data.importers.imagenet32 import Imagenet32Config
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.patches import PatchesConfig
from flowkd.data.importers.photos import PhotosConfig
from flowkd.data.importers.table import TableConfig
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.errors import DataError
from flowkd.store.failures import explained
from flowkd.store.store import Store

# Every data set that a config can name, by its `kind`: here a new importer is registered.
DatasetConfig = Annotated[
    PhotosConfig
    | PatchesConfig
    | DigitsConfig
    | ImagesConfig
    | TableConfig
    | PowerConfig
    | GasConfig
    | HepmassConfig
    | MiniBooNEConfig
    | Bsds300Config
    | CifarConfig
    | Imagenet32Config
    | CelebaConfig
    | FoldConfig,
    Field(discriminator="kind"),
]


class PrepareConfig(RootModel[DatasetConfig]):
    """A data set's config as a file of its own: `kind` says which importer it is for."""


class DatasetExistsError(DataError):
    """A data set of the same name from another import, which nobody said may be replaced."""


def prepare(config: ImporterConfig, store: Store, *, replace: bool = True) -> Manifest:
    """Returns the manifest of the configured data set, which is imported unless it is there.

    A data set of the same name is kept if its config is equal, and imported again if its shards are
    not all there. That a source file has changed is not noticed.

    Args:
        config: Of the importer.
        store: Where the data set goes.
        replace: Whether it takes the place of one of another config, which else is an error; the
            commands ask before.

    Raises:
        DatasetExistsError: There is another data set of this name.
        DataError: The source is missing or faulty, as each importer says.

    Examples:
        >>> from flowkd.data.importers.digits import DigitsConfig
        >>> store = Store("memory://prepare")
        >>> manifest = prepare(DigitsConfig(name="mine"), store)
        >>> {split: info.rows for split, info in manifest.splits.items()}
        {'train': 1200, 'val': 250, 'test': 347}
        >>> store.remove()
    """
    manifest = kept_manifest(config, store, replace=replace)
    if manifest is not None:
        return manifest
    source = without_credentials(str(getattr(config, "source", None) or config.kind))
    with explained(f"data set {config.name!r} from {source}", DataError):
        return config.write(store)


def kept_manifest(
    config: ImporterConfig, store: Store, *, replace: bool = False
) -> Manifest | None:
    """Returns the manifest of the very same import, whole in the store; None where it is to be run.

    Raises:
        DatasetExistsError: There is another data set of this name, not to be replaced.
    """
    try:
        manifest = read_manifest(store, config.name)
    except DataError:
        return None
    ours = values_without_credentials(config.model_dump(mode="json"))
    if _with_whole_path(manifest.config) == _with_whole_path(ours):
        return manifest if _is_whole(store, manifest) else None
    if replace:
        return None
    differ = [key for key in ours | manifest.config if manifest.config.get(key) != ours.get(key)]
    changes = ", ".join(
        f"{key} {manifest.config.get(key)!r}, now {ours.get(key)!r}" for key in differ
    )
    raise DatasetExistsError(
        f"there is another data set {config.name!r} in {store}: {manifest.source}; it had "
        f"{changes}: choose another name, or replace it by --replace"
    )


def _with_whole_path(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a config whose source, if it is a file of this machine, is named from its root."""
    source = config.get("source")
    if not isinstance(source, str) or not os.path.exists(source):
        return config
    return {**config, "source": os.path.abspath(source)}


def _is_whole(store: Store, manifest: Manifest) -> bool:
    found = store.sizes("datasets", manifest.name)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    return all(found.get(shard.file) == shard.bytes for shard in shards)
