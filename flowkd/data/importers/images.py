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
from flowkd.data.importers.bad_pictures import BadPictures, check_headers
from flowkd.data.importers.crops import (
    MAX_PICTURE_BYTES,
    CropsConfig,
    check_size,
    crops_of,
    pictures_per_chunk,
)
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.picture_files import SUFFIXES
from flowkd.data.importers.picture_notes import describe_others, wanted_picture, with_notes
from flowkd.data.importers.sources import Member, Source, fingerprint_of
from flowkd.data.importers.split_folders import (
    check_one_split,
    remark_on_splits,
    split_by_folder,
    splits_of_folders,
    splits_of_tars,
)
from flowkd.data.importers.tiles import CROPS_A_SIDE, tiles_of
from flowkd.data.importers.webdataset import (
    Sample,
    check_tars,
    label_of,
    split_by_name,
    tar_chunks,
    tars_at,
)
from flowkd.data.manifest import SPLITS, Manifest, random_split_by_fraction
from flowkd.data.notes import Notes
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

MOST_TILES = 2**32  # of a picture, so that no two pictures have a group in common


class ImagesConfig(CropsConfig, ImporterConfig):
    """Crops of pictures; all crops of one file, or tile, are in one split, and are one group.

    Attributes:
        source: A folder, searched with all its subfolders; a zip; a tar, a folder of tars, or tars
            as in `shards/{000..012}.tar` or `shards/*.tar`; any fsspec URL.
        labels: Whether a class is stored as the context: of folders and zips the first subfolder's
            name; of tars the number in `000123.cls` beside `000123.jpg`.
        classes: Number of classes; only for tars with labels, which require it.
        split_folders: Whether folders `train`, `val` (or `valid`, `validation`) and `test` at the
            top are the splits, where all pictures lie in such, as are tars that have these words
            in their names; default True. One that is missing is drawn from train. A tar with
            several such folders is refused.
        split_by: What is drawn for a split: a `file`, the default; or, of a few large pictures in a
            grid, a `tile` of them, a square of 4x4 crops: pixels beyond whole tiles are left out.
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
    split_folders: bool = True
    split_by: Literal["file", "tile"] = "file"
    val_fraction: float = Field(0.1, gt=0, lt=1)
    test_fraction: float = Field(0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _classes_go_with_labels(self) -> ImagesConfig:
        if self.classes is not None and not self.labels:
            raise ValueError(f"classes={self.classes} goes with labels: true; got labels: false")
        return self

    @model_validator(mode="after")
    def _tiles_are_of_a_grid(self) -> ImagesConfig:
        if self.split_by == "tile" and (self.mode, self.frames) != ("grid", "first"):
            raise ValueError(
                f"split_by: tile goes with mode: grid and frames: first; got mode: {self.mode} "
                f"and frames: {self.frames}"
            )
        return self

    @property
    def cut(self) -> CropsConfig:
        """What is cut from a picture: its crops, or the tiles that they are cut from."""
        if self.split_by == "file":
            return self
        return self.model_copy(update={"crop": CROPS_A_SIDE * self.crop, "split_by": "file"})

    def write(self, store: Store) -> Manifest:
        """Writes the data set, some thousand crops at a time, and returns its manifest.

        Tars are WebDataset's: files of one name, up to the first dot, belong together
        (Aizman et al., High Performance I/O For Large Scale Deep Learning, 2020,
        https://github.com/webdataset/webdataset).

        All headers are read before the first picture is decoded, but of tars on other machines,
        which would be fetched twice.

        Raises:
            DataError: The source is missing, has no pictures or too few, or pictures are refused:
                unreadable, truncated, too large, of more than 8 bits, smaller than the crop, or
                (with labels) without a class.
        """
        notes = Notes()
        tars = _tars(self, notes)
        return _write_tars(self, store, tars, notes) if tars else _write_files(self, store, notes)


def _write_tars(
    config: ImagesConfig, store: Store, tars: Sequence[Source], notes: Notes
) -> Manifest:
    if not config.skip_unreadable:
        check_tars([tar for tar in tars if tar.is_local], config)
    source = f"pictures of {len(tars)} tars, {config.source}"
    draft = _draft(config, source, config.classes, tars=True)
    names = [tar.name for tar in tars]
    splits = splits_of_tars(names, config.source) if config.split_folders else None
    if splits:
        draft = draft.model_copy(update={"remarks": [remark_on_splits(splits, "tars")]})
    return import_chunks(
        store,
        draft,
        _tar_chunks(config, tars, splits, notes),
        fingerprint=fingerprint_of(tars),
        seed=config.seed,
        conclude=partial(_concluded, notes),
    )


def _write_files(config: ImagesConfig, store: Store, notes: Notes) -> Manifest:
    source = Source(config.source)
    with source.all_members(partial(wanted_picture, notes)) as found:
        notes.merge(source.notes)
        files = _checked(sorted(found, key=lambda file: file.name), source, config, notes)
        paths = _paths(files, source)
        splits = splits_of_folders(paths, source.uri) if config.split_folders else None
        if splits and config.split_by == "tile":
            raise DataError(
                f"split_by: tile draws the splits, but the folders of {config.source} are splits "
                f"already: leave split_by out, or set split_folders: false"
            )
        if splits:
            paths = [path[1:] for path in paths]
        classes = _classes(files, paths, config) if config.labels else None
        names = sorted(set(classes)) if classes else None
        draft = _draft(config, f"{len(files)} pictures of {config.source}", names)
        if splits:
            draft = draft.model_copy(update={"remarks": [remark_on_splits(splits, "folders")]})
        return import_chunks(
            store,
            draft,
            _file_chunks(config, files, classes, _chosen(config, len(files), splits)),
            fingerprint=source.fingerprint(),
            seed=config.seed,
            conclude=partial(_concluded, notes),
        )


def _checked(
    files: Sequence[Member], source: Source, config: ImagesConfig, notes: Notes
) -> list[Member]:
    """Returns the pictures that are not refused, which are as many as there should be."""
    if not files:
        raise DataError(
            f"no pictures in {config.source!r}; it has {describe_others(notes) or 'no files'}; "
            f"looked for names that end in {', '.join(SUFFIXES)}, and for tars"
        )
    for file, other in pairwise(files):
        if file.name == other.name:  # of a zip; one could be train and the other test
            raise DataError(f"{file.where} is there twice; remove one, or rename it")
    fits = partial(check_size, config=config.cut)
    checked = check_headers(source, files, fits, notes, skip=config.skip_unreadable)
    if not checked:
        raise DataError(f"all {len(files):,} pictures of {config.source!r} are refused")
    return checked


def _concluded(found: Notes, manifest: Manifest, notes: Notes) -> Manifest:
    """Returns the manifest with the notes of all files and of those that were decoded."""
    both = Notes(found.found)
    both.merge(notes)
    return with_notes(manifest, both)


def _tars(config: ImagesConfig, notes: Notes) -> list[Source]:
    try:
        tars = tars_at(config.source, notes)
    except DataError as error:
        raise DataError(f"no folder {config.source!r}, nor a zip or tar of it: {error}") from error
    if tars and config.labels and config.classes is None:
        raise DataError(
            f"expected the number of classes for labels from {config.source}: a tar does not tell "
            f"it before it is read; set classes"
        )
    if config.split_by == "tile" and tars:
        raise DataError(
            f"split_by: tile is for folders and zips; {config.source} is of tars: unpack them"
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
        group=config.split_by if config.several or tars else None,
        splits={},
        source=source,
        config=config.model_dump(mode="json"),
    )


def _tar_chunks(
    config: ImagesConfig, tars: Sequence[Source], splits: Sequence[str] | None, notes: Notes
) -> Iterator[ImportChunk]:
    def rows(sample: Sample, noted: Notes) -> tuple[np.ndarray, int | None]:
        label = None if config.classes is None else label_of(sample, config.classes)
        return crops_of(sample.picture, sample.name, sample.where, config, noted), label

    # A split that tars have is not drawn from the others.
    shares = {
        f"{split}_fraction": 0.0 if splits and split in splits else share
        for split, share in (("val", config.val_fraction), ("test", config.test_fraction))
    }
    named = dict(zip([tar.uri for tar in tars], splits or (), strict=False))
    seen: set[str] = set()

    def split(sample: Sample) -> str:
        if config.split_folders and not named:
            check_one_split(sample.key, seen, config.source)
        own = named.get(sample.tar, "train")
        return split_by_name(sample.key, **shares, seed=config.seed) if own == "train" else own

    skip = config.skip_unreadable
    return tar_chunks(tars, pictures_per_chunk(config), rows, split, notes, skip=skip)


def _chosen(
    config: ImagesConfig, count: int, splits: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Returns the indices of the files of each split, in the order in which they are read.

    Files that are split by tiles are all called train here.
    """
    if config.split_by == "tile":
        return {"train": np.arange(count)}
    shares = {
        "val_fraction": config.val_fraction,
        "test_fraction": config.test_fraction,
    }
    if splits and len(set(splits)) > 1:
        return split_by_folder(splits, **shares, seed=config.seed, where=config.source)
    what = f"pictures in {config.source}"
    return random_split_by_fraction(count, **shares, seed=config.seed, what=what)


def _file_chunks(
    config: ImagesConfig,
    files: Sequence[Member],
    classes: Sequence[str] | None,
    chosen: Mapping[str, np.ndarray],
) -> Iterator[ImportChunk]:
    # In the order drawn, so that a chunk has pictures of all classes.
    drawn = [(split, int(number)) for split in SPLITS for number in chosen.get(split, ())]
    names = sorted(set(classes or ()))
    labels = None if classes is None else [names.index(name) for name in classes]
    count = pictures_per_chunk(config)
    for start in range(0, len(drawn), count):
        part = drawn[start : start + count]
        notes = Notes()
        read = partial(_read, part, files, labels, config, notes)
        yield ImportChunk(f"pictures {start}", read, notes)


def _read(
    part: Sequence[tuple[str, int]],
    files: Sequence[Member],
    labels: Sequence[int] | None,
    config: ImagesConfig,
    notes: Notes,
) -> Mapping[str, SplitArrays]:
    bad = BadPictures(notes, skip=config.skip_unreadable)
    crops: dict[str, list[np.ndarray]] = defaultdict(list)
    classes: dict[str, list[int]] = defaultdict(list)
    groups: dict[str, list[int]] = defaultdict(list)
    for split, number in part:
        file = files[number]
        with bad.gather(file.name):
            data = file.read(MAX_PICTURE_BYTES)
            cut = crops_of(data, file.name, file.where, config.cut, notes)
            parts = [(split, number, cut)]
            if config.split_by == "tile":
                shares = config.val_fraction, config.test_fraction
                parts = [
                    (own, MOST_TILES * number + tile, rows)
                    for own, tile, rows in tiles_of(
                        cut, config.crop, file.name, shares, config.seed
                    )
                ]
            for own, group, rows in parts:
                crops[own].append(rows)
                groups[own] += [group] * len(rows)
                if labels is not None:
                    classes[own] += [labels[number]] * len(rows)
    bad.check(config.source)
    return {
        split: SplitArrays(
            np.concatenate(found),
            np.array(classes[split], np.int64) if labels else None,
            np.array(groups[split], np.int64) if config.several else None,
        )
        for split, found in crops.items()
    }


def _paths(files: Sequence[Member], source: Source) -> list[tuple[str, ...]]:
    """Returns the parts of each file's path; of a zip, below the folder that was zipped."""
    paths = [PurePosixPath(file.name).parts for file in files]
    if source.kind == "zip" and len({path[0] for path in paths}) == 1:
        paths = [path[1:] or path for path in paths]
    return paths


def _classes(
    files: Sequence[Member], paths: Sequence[Sequence[str]], config: ImagesConfig
) -> list[str]:
    """Returns the first subfolder's name of each file, below the folders of splits."""
    for file, path in zip(files, paths, strict=True):
        if len(path) < 2:
            raise DataError(
                f"{file.name} lies directly in {config.source}; with labels, expected every "
                f"picture in a subfolder named after its class; move it, or set labels: false"
            )
    return [path[0] for path in paths]
