"""Any data set, by its config: which importer makes it, and whether it is there already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from flowkd.data.importers import (
    celeba,
    cifar,
    digits,
    imagenet32,
    images,
    patches,
    photos,
    table,
)
from flowkd.data.importers.celeba import CelebaConfig
from flowkd.data.importers.cifar import CifarConfig
from flowkd.data.importers.density import bsds300, gas, hepmass, miniboone, power
from flowkd.data.importers.density.bsds300 import Bsds300Config
from flowkd.data.importers.density.gas import GasConfig
from flowkd.data.importers.density.hepmass import HepmassConfig
from flowkd.data.importers.density.miniboone import MiniBooNEConfig
from flowkd.data.importers.density.power import PowerConfig
from flowkd.data.importers.digits import DigitsConfig
from flowkd.data.importers.imagenet32 import Imagenet32Config
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.patches import PatchesConfig
from flowkd.data.importers.photos import PhotosConfig
from flowkd.data.importers.table import TableConfig
from flowkd.data.manifest import Manifest, read_manifest
from flowkd.errors import DataError
from flowkd.store.store import Store

AnyConfig = (
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
)
DatasetConfig = Annotated[AnyConfig, Field(discriminator="kind")]
IMPORTERS: dict[type, Callable[[Any, Store], Manifest]] = {
    PhotosConfig: photos.prepare,
    PatchesConfig: patches.prepare,
    DigitsConfig: digits.prepare,
    ImagesConfig: images.prepare,
    TableConfig: table.prepare,
    PowerConfig: power.prepare,
    GasConfig: gas.prepare,
    HepmassConfig: hepmass.prepare,
    MiniBooNEConfig: miniboone.prepare,
    Bsds300Config: bsds300.prepare,
    CifarConfig: cifar.prepare,
    Imagenet32Config: imagenet32.prepare,
    CelebaConfig: celeba.prepare,
}


def prepare(config: AnyConfig, store: Store) -> Manifest:
    """Returns the manifest of the configured dataset, which it writes unless it is there already.

    A dataset of the same name is kept where its configuration is equal and its shards are all
    there, and replaced otherwise. That a source file has changed is not noticed.

    Raises:
        DataError: The source is missing or faulty, as each importer says.
    """
    try:
        manifest = read_manifest(store, config.name)
    except DataError:
        manifest = None
    if (
        manifest is not None
        and manifest.config == config.model_dump(mode="json")
        and _is_whole(store, manifest)
    ):
        return manifest
    return IMPORTERS[type(config)](config, store)


def _is_whole(store: Store, manifest: Manifest) -> bool:
    found = store.sizes("datasets", manifest.name)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    return all(found.get(shard.file) == shard.bytes for shard in shards)
