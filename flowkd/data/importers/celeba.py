"""Data set `celeba`: 202,599 aligned faces, as published, cropped as the field crops them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from PIL import Image
from pydantic import Field

from flowkd.data.chunked_import import ImportChunk, import_chunks
from flowkd.data.importers.bad_pictures import BadPictures, check_headers
from flowkd.data.importers.crops import MAX_PICTURE_BYTES
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.picture_files import BadPictureError
from flowkd.data.importers.picture_notes import wanted_picture, with_notes
from flowkd.data.importers.pictures import read_picture
from flowkd.data.importers.sources import Member, Source, fingerprint_of
from flowkd.data.manifest import SPLITS, Manifest
from flowkd.data.notes import Notes
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

PICTURES = "img_align_celeba.zip"
PARTITION = "list_eval_partition.txt"
ROWS = {"train": 162_770, "val": 19_867, "test": 19_962}
WIDTH, HEIGHT = 178, 218
BOX = (15, 40, 163, 188)  # left, top, right, bottom
CHUNK_PICTURES = 2000
MAX_PARTITION_BYTES = 2**25


class CelebaConfig(ImporterConfig):
    """CelebA, aligned and cropped, of which the middle is scaled down.

    Attributes:
        source: `img_align_celeba.zip`; or a folder with it, or with the pictures it holds, and
            with `list_eval_partition.txt`; any fsspec URL.
        partition: `list_eval_partition.txt`, unless source is a folder that has it.
        size: Side of a picture, in pixels; default 64.
        skip_unreadable: Whether pictures that are refused, such as those that are damaged or not of
            178x218 pixels, are left out and counted; default False.
        seed: Seed of the order; default 0.
    """

    kind: Literal["celeba"] = "celeba"
    source: str = Field(min_length=1)
    partition: str | None = Field(None, min_length=1)
    size: Literal[32, 64] = 64
    name: DatasetName = "celeba"
    skip_unreadable: bool = False
    seed: int = Field(0, ge=0)

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; the splits are the publisher's.

        Of each picture the 148x148 pixels of rows 40 to 187 and columns 15 to 162 are taken: the
        crop of Real NVP (Dinh et al., Density estimation using Real NVP, 2016,
        https://github.com/tensorflow/models/blob/2a04fd58/research/real_nvp/real_nvp_multiscale_dataset.py),
        five pixels below the centre. It is scaled by Pillow's bilinear filter, which averages over
        what a pixel covers, as NVAE does (Vahdat and Kautz, 2020,
        https://github.com/NVlabs/NVAE/blob/master/datasets.py); Real NVP's did not average.

        All headers are read before the first picture is decoded.

        Raises:
            DataError: A picture is missing or not in the partition; pictures are unreadable or not
                of 178x218 pixels, and are not to be left out; or the splits have not the published
                sizes.
        """
        with ExitStack() as stack:
            sources, found, partition = _open(self, stack)
            others = Notes()
            pictures = _pictures(found, others)
            splits = _read_partition(partition)
            members = _matched(pictures, splits, sources[0].uri)
            skip = self.skip_unreadable
            members = check_headers(sources[0], members, _check_published, others, skip=skip)
            chunks = _chunks(members, splits, self)
            draft = Manifest(
                name=self.name,
                kind="image",
                event_shape=(3, self.size, self.size),
                bins=256,
                remarks=[
                    "Several pictures show one person, which is not read: errors of figures, which "
                    "take pictures for independent, are too small."
                ],
                splits={},
                source=f"CelebA, aligned (Liu et al. 2015), from {self.source}",
                config=self.model_dump(mode="json"),
            )
            return import_chunks(
                store,
                draft,
                chunks,
                fingerprint=fingerprint_of(sources),
                seed=self.seed,
                conclude=partial(_concluded, others),
            )


def _concluded(found: Notes, manifest: Manifest, notes: Notes) -> Manifest:
    """Returns the manifest with the notes of all files and of those that were decoded."""
    both = Notes(found.found)
    both.merge(notes)
    return with_notes(manifest, both)


def _open(config: CelebaConfig, stack: ExitStack) -> tuple[list[Source], list[Member], Member]:
    """Returns the sources, the members among which the pictures are, and the partition."""
    source = Source(config.source)
    if source.kind not in ("folder", "zip"):
        raise DataError(
            f"expected {PICTURES}, or a folder with it or its pictures, as source; got {source.uri}"
        )
    sources = [source]
    found = stack.enter_context(source.all_members())
    named = {PurePosixPath(member.name).name: member for member in found}
    if config.partition is not None:
        sources.append(Source(config.partition))
        partition = next(sources[-1].members())
    elif PARTITION in named:
        partition = named[PARTITION]
    else:
        raise DataError(
            f"expected {PARTITION} in {source.uri}; it is not there; put it there, or set "
            f"partition to where it is"
        )
    if source.kind == "folder" and PICTURES in named:
        packed = Source(f"{config.source.rstrip('/')}/{named[PICTURES].name}")
        sources.insert(0, packed)
        found = stack.enter_context(packed.all_members())
    return sources, found, partition


def _pictures(found: Sequence[Member], others: Notes) -> list[Member]:
    """Returns the members that are pictures, and notes those that are nothing else either."""
    used = (PARTITION, PICTURES)
    return [
        member
        for member in found
        if PurePosixPath(member.name).name not in used and wanted_picture(others, member.name)
    ]


def _read_partition(member: Member) -> dict[str, str]:
    """Returns the split of each picture, by its name."""
    splits: dict[str, str] = {}
    for number, line in enumerate(member.read(MAX_PARTITION_BYTES).splitlines(), 1):
        name, _, digit = line.decode("latin1").strip().partition(" ")
        if digit.strip() not in ("0", "1", "2") or name in splits:
            raise DataError(
                f"expected a new name and 0, 1 or 2, as in '000001.jpg 0', in line {number} of "
                f"{member.where}; got {line[:60]!r}"
            )
        splits[name] = SPLITS[int(digit)]
    found = {split: list(splits.values()).count(split) for split in SPLITS}
    if found != ROWS:
        raise DataError(f"expected {ROWS} pictures in {member.where}; got {found}; fetch it again")
    return splits


def _matched(pictures: Sequence[Member], splits: Mapping[str, str], where: str) -> list[Member]:
    """Returns the pictures by name; raises DataError unless they are those of the partition."""
    members = {PurePosixPath(member.name).name: member for member in pictures}
    missing = sorted(splits.keys() - members.keys())
    if missing:
        raise DataError(
            f"expected {missing[0]} in {where}, as the partition says; it is not there, nor are "
            f"{len(missing) - 1:,} others; fetch {PICTURES} again"
        )
    extra = sorted(members.keys() - splits.keys())
    if extra:
        raise DataError(
            f"expected {members[extra[0]].where} in {PARTITION}; it is not there, nor are "
            f"{len(extra) - 1:,} others; fetch {PARTITION} again"
        )
    return [members[name] for name in sorted(splits)]


def _chunks(
    members: Sequence[Member], splits: Mapping[str, str], config: CelebaConfig
) -> Iterator[ImportChunk]:
    for start in range(0, len(members), CHUNK_PICTURES):
        chosen, notes = members[start : start + CHUNK_PICTURES], Notes()
        read = partial(_read, chosen, splits, config, notes)
        yield ImportChunk(f"pictures {start}", read, notes)


def _read(
    members: Sequence[Member], splits: Mapping[str, str], config: CelebaConfig, notes: Notes
) -> Mapping[str, SplitArrays]:
    bad = BadPictures(notes, skip=config.skip_unreadable)
    pixels: dict[str, list[np.ndarray]] = {}
    for member in members:
        with bad.gather(member.name):
            face = _face(member, config.size)
            pixels.setdefault(splits[PurePosixPath(member.name).name], []).append(face)
    bad.check(config.source)
    return {split: SplitArrays(np.stack(faces)) for split, faces in pixels.items()}


def _face(member: Member, size: int) -> np.ndarray:
    picture = read_picture(member.read(MAX_PICTURE_BYTES), member.where)
    _check_published(picture.shape[2], picture.shape[1], member.where)
    upright = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    face = upright.crop(BOX).resize((size, size), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(face).transpose(2, 0, 1))


def _check_published(width: int, height: int, where: str) -> None:
    """Raises BadPictureError for a picture that has not the published size."""
    if (width, height) != (WIDTH, HEIGHT):
        problem = f"has {width}x{height} pixels; expected {WIDTH}x{HEIGHT}"
        remedy = f"{PICTURES} has all of this size: fetch it again"
        raise BadPictureError(where, problem, remedy, f"of other than {WIDTH}x{HEIGHT} pixels")
