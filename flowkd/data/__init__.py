"""Datasets: importers -> shards and a manifest in the store -> examples -> batches."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from flowkd.data import (
    celeba,
    cifar,
    density,
    digits,
    imagenet32,
    images,
    patches,
    photos,
    table,
)
from flowkd.data.batch import Batch, BatchSource
from flowkd.data.batches import Batches
from flowkd.data.celeba import CelebaConfig
from flowkd.data.cifar import CifarConfig
from flowkd.data.density import (
    Bsds300Config,
    GasConfig,
    HepmassConfig,
    MiniBooNEConfig,
    PowerConfig,
)
from flowkd.data.digits import DigitsConfig
from flowkd.data.examples import Examples
from flowkd.data.imagenet32 import Imagenet32Config
from flowkd.data.images import ImagesConfig
from flowkd.data.manifest import Manifest, Shard, Split, dataset_names, read_manifest
from flowkd.data.noise import dequantise, evaluation_batches
from flowkd.data.patches import PatchesConfig
from flowkd.data.photos import PhotosConfig
from flowkd.data.reading import StoredRows, load_split
from flowkd.data.table import TableConfig
from flowkd.data.writing import Arrays, write_dataset
from flowkd.errors import DataError
from flowkd.store import Store

__all__ = [
    "Arrays",
    "Batch",
    "BatchSource",
    "Batches",
    "Bsds300Config",
    "CelebaConfig",
    "CifarConfig",
    "DatasetConfig",
    "DigitsConfig",
    "Examples",
    "GasConfig",
    "HepmassConfig",
    "Imagenet32Config",
    "ImagesConfig",
    "Manifest",
    "MiniBooNEConfig",
    "PatchesConfig",
    "PhotosConfig",
    "PowerConfig",
    "Shard",
    "Split",
    "StoredRows",
    "TableConfig",
    "dataset_names",
    "dequantise",
    "evaluation_batches",
    "load_split",
    "prepare",
    "read_manifest",
    "write_dataset",
]

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
    match config:
        case PhotosConfig():
            return photos.prepare(config, store)
        case PatchesConfig():
            return patches.prepare(config, store)
        case DigitsConfig():
            return digits.prepare(config, store)
        case ImagesConfig():
            return images.prepare(config, store)
        case CifarConfig():
            return cifar.prepare(config, store)
        case Imagenet32Config():
            return imagenet32.prepare(config, store)
        case CelebaConfig():
            return celeba.prepare(config, store)
        case TableConfig():
            return table.prepare(config, store)
        case _:
            return density.prepare(config, store)


def _is_whole(store: Store, manifest: Manifest) -> bool:
    found = store.sizes("datasets", manifest.name)
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    return all(found.get(shard.file) == shard.bytes for shard in shards)
