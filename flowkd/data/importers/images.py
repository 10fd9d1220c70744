"""Data set `images`: crops of the user's own pictures, split by file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from flowkd.data.chunked_import import ImportChunk, import_chunks
from flowkd.data.importers.crops import (
    MAX_PICTURE_BYTES,
    SUFFIXES,
    CropsConfig,
    crops_of,
    is_picture,
    pictures_per_chunk,
)
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.sources import Member, Source, fingerprint_of
from flowkd.data.importers.webdataset import Sample, label_of, split_by_name, tar_chunks, tars_at
from flowkd.data.manifest import SPLITS, Manifest, random_split_by_fraction
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store


class ImagesConfig(CropsConfig, ImporterConfig):
    """Crops of pictures; all crops of one file are in one split, and are one group.

    Attributes:
        source: A folder, searched with all its subfolders; a zip; a tar, a folder of tars, or tars
            as in `shards/{000..012}.tar` or `shards/*.tar`; any fsspec URL.
        labels: Whether a class is stored as the context: of folders and zips the first subfolder's
            name; of tars the number in `000123.cls` beside `000123.jpg`.
        classes: Number of classes; only for tars with labels, which require it.
        val_fraction: Share of the files that are val; default 0.1. Of tars, whose files are not
            known before they are read, each file is drawn by a hash of its name.
        test_fraction: Share of the files that are test; default 0.1.
        seed: Seed of the split, the random crops and the order; default 0.
    """

    kind: Literal["images"] = "images"
    source: str = Field(min_length=1)
    name: DatasetName
    labels: bool = False
    classes: int | None = Field(None, ge=1)
    val_fraction: float = Field(0.1, gt=0, lt=1)
    test_fraction: float = Field(0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _classes_go_with_labels(self) -> ImagesConfig:
        if self.classes is not None and not self.labels:
            raise ValueError(f"classes={self.classes} goes with labels: true; got labels: false")
        return self

    def write(self, store: Store) -> Manifest:
        """Writes the data set, some thousand crops at a time, and returns its manifest.

        Tars are WebDataset's: files of one name, up to the first dot, belong together
        (Aizman et al., High Performance I/O For Large Scale Deep Learning, 2020,
        https://github.com/webdataset/webdataset).

        Raises:
            DataError: The source is missing, has no pictures or too few, or a picture is
                unreadable, truncated, too large, smaller than the crop, or (with labels) without
                a class.
        """
        tars = _tars(self)
        if tars:
            draft = _draft(
                self, f"pictures of {len(tars)} tars, {self.source}", self.classes, tars=True
            )
            return import_chunks(
                store,
                draft,
                _tar_chunks(self, tars),
                fingerprint=fingerprint_of(tars),
                seed=self.seed,
            )
        source = Source(self.source)
        with source.all_members(is_picture) as found:
            files = sorted(found, key=lambda file: file.name)
            if not files:
                raise DataError(
                    f"no pictures in {self.source!r} among its {len(list(source.members()))} "
                    f"files; looked for names that end in {', '.join(SUFFIXES)}, and for tars"
                )
            for file, other in pairwise(files):
                if file.name == other.name:  # of a zip; one could be train and the other test
                    raise DataError(f"{file.where} is there twice; remove one, or rename it")
            classes = _classes(files, self) if self.labels else None
            names = sorted(set(classes)) if classes else None
            draft = _draft(self, f"{len(files)} pictures of {self.source}", names)
            return import_chunks(
                store,
                draft,
                _file_chunks(self, files, classes),
                fingerprint=source.fingerprint(),
                seed=self.seed,
            )


def _tars(config: ImagesConfig) -> list[Source]:
    try:
        tars = tars_at(config.source)
    except DataError as error:
        raise DataError(f"no folder {config.source!r}, nor a zip or tar of it: {error}") from error
    if tars and config.labels and config.classes is None:
        raise DataError(
            f"expected the number of classes for labels from {config.source}: a tar does not tell "
            f"it before it is read; set classes"
        )
    if config.classes is not None and not tars:
        raise DataError(f"classes={config.classes} is for tars; {config.source} has none")
    return tars


def _draft(
    config: ImagesConfig, source: str, classes: Sequence[str] | int | None, *, tars: bool = False
) -> Manifest:
    names = None if classes is None or isinstance(classes, int) else list(classes)
    return Manifest(
        name=config.name,
        kind="image",
        event_shape=(config.channels, config.crop, config.crop),
        bins=256,
        classes=len(names) if names else classes if isinstance(classes, int) else None,
        class_names=names,
        group="file" if config.several or tars else None,
        splits={},
        source=source,
        config=config.model_dump(mode="json"),
    )


def _tar_chunks(config: ImagesConfig, tars: Sequence[Source]) -> Iterator[ImportChunk]:
    def rows(sample: Sample) -> tuple[np.ndarray, int | None]:
        label = None if config.classes is None else label_of(sample, config.classes)
        return crops_of(sample.picture, sample.name, sample.where, config), label

    split = partial(
        split_by_name,
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
    )
    return tar_chunks(tars, pictures_per_chunk(config), rows, split)


def _file_chunks(
    config: ImagesConfig, files: Sequence[Member], classes: Sequence[str] | None
) -> Iterator[ImportChunk]:
    chosen = random_split_by_fraction(
        len(files),
        val_fraction=config.val_fraction,
        test_fraction=config.test_fraction,
        seed=config.seed,
        what=f"pictures in {config.source}",
    )
    # In the order drawn, so that a chunk has pictures of all classes.
    drawn = [(split, int(number)) for split in SPLITS for number in chosen[split]]
    names = sorted(set(classes or ()))
    labels = None if classes is None else [names.index(name) for name in classes]
    count = pictures_per_chunk(config)
    for start in range(0, len(drawn), count):
        part = drawn[start : start + count]
        yield ImportChunk(f"pictures {start}", partial(_read, part, files, labels, config))


def _read(
    part: Sequence[tuple[str, int]],
    files: Sequence[Member],
    labels: Sequence[int] | None,
    config: ImagesConfig,
) -> Mapping[str, SplitArrays]:
    crops: dict[str, list[np.ndarray]] = defaultdict(list)
    classes: dict[str, list[int]] = defaultdict(list)
    groups: dict[str, list[int]] = defaultdict(list)
    for split, number in part:
        file = files[number]
        found = crops_of(file.read(MAX_PICTURE_BYTES), file.name, file.where, config)
        crops[split].append(found)
        groups[split] += [number] * len(found)
        if labels is not None:
            classes[split] += [labels[number]] * len(found)
    return {
        split: SplitArrays(
            np.concatenate(found),
            np.array(classes[split], np.int64) if labels else None,
            np.array(groups[split], np.int64) if config.several else None,
        )
        for split, found in crops.items()
    }


def _classes(files: Sequence[Member], config: ImagesConfig) -> list[str]:
    """Returns the first subfolder's name of each file; of a zip, below the folder zipped."""
    paths = [PurePosixPath(file.name).parts for file in files]
    if config.source.lower().endswith(".zip") and len({path[0] for path in paths}) == 1:
        paths = [path[1:] or path for path in paths]
    for file, path in zip(files, paths, strict=True):
        if len(path) < 2:
            raise DataError(
                f"{file.name} lies directly in {config.source}; with labels, expected every "
                f"picture in a subfolder named after its class; move it, or set labels: false"
            )
    return [path[0] for path in paths]
