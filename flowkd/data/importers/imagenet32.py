"""Data set `imagenet32`: ImageNet's 1.3 million photographs at 32x32 pixels, as published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from flowkd.data.chunked_import import ImportChunk, import_chunks
from flowkd.data.importers.cifar_batches import (
    SIDE,
    picture_rows,
    published_members,
    rows_by_split,
)
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.npz import read_npz
from flowkd.data.importers.sources import Member, Source, fingerprint_of
from flowkd.data.importers.unpickling import load_safely
from flowkd.data.manifest import Manifest, draw_val_rows
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

TRAIN = tuple(f"train_data_batch_{number}" for number in range(1, 11))
TEST = "val_data"
TRAIN_ROWS = 1_281_167
TEST_ROWS = 50_000
CLASSES = 1000
ARCHIVES = ("*imagenet32*.zip", "*imagenet32*.tar")
MAX_BATCH_BYTES = 2**30


class Imagenet32Config(ImporterConfig):
    """ImageNet at 32x32 pixels, in its npz or its Python version, with its classes as the context.

    Attributes:
        source: `Imagenet32_train_npz.zip` or `Imagenet32_train.zip`; or a folder with either and
            that of `test_source`, as zips or extracted; any fsspec URL.
        test_source: `Imagenet32_val_npz.zip` or `Imagenet32_val.zip`, unless source has it.
        labels: Whether the class of each picture is stored as its context; default True.
        val_rows: Rows of train that are val, as many from each of the ten batches; default 10,000.
        seed: Seed of the choice of val, and of the order; default 0.
    """

    kind: Literal["imagenet32"] = "imagenet32"
    source: str = Field(min_length=1)
    test_source: str | None = Field(None, min_length=1)
    name: DatasetName = "imagenet32"
    labels: bool = True
    val_rows: int = Field(10_000, ge=1)
    seed: int = Field(0, ge=0)

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; test is the published validation set.

        A batch file at a time is in memory, in train about 400 MB of pixels, and a copy.
        Labels 1 to 1000 become 0 to 999.

        Source: Chrabaszcz, Loshchilov, Hutter, A Downsampled Variant of ImageNet as an Alternative
        to the CIFAR datasets, 2017, https://arxiv.org/abs/1707.08819; their scripts, by which nine
        batches have a tenth of the rows and the last one the rest,
        https://github.com/PatrykChrabaszcz/Imagenet32_Scripts.

        Raises:
            DataError: A batch is missing, cut off, or not of its published number of rows; a pickle
                among them asks for more than numpy arrays.
        """
        sources = _sources(self)
        draft = Manifest(
            name=self.name,
            kind="image",
            event_shape=(3, SIDE, SIDE),
            bins=256,
            classes=CLASSES if self.labels else None,
            splits={},
            source=f"ImageNet32 (Chrabaszcz et al. 2017), from {self.source}",
            remarks=[
                "Not the downsampled ImageNet of Pixel Recurrent Neural Networks (2016), of which "
                "most published bits/dim are: other pixels, and other numbers."
            ],
            config=self.model_dump(mode="json"),
        )
        chunks = _chunks(self, sources)
        return import_chunks(
            store, draft, chunks, fingerprint=fingerprint_of(sources), seed=self.seed
        )


def _sources(config: Imagenet32Config) -> list[Source]:
    """Returns the sources named, and the archives of this data set in those that are folders."""
    sources = []
    for uri in (config.source, config.test_source):
        if uri is not None:
            source = Source(uri)
            sources.append(source)
            if source.kind == "folder":
                sources += [
                    Source(f"{uri.rstrip('/')}/{member.name}")
                    for member in source.members(_is_archive)
                ]
    return sources


def _is_archive(name: str) -> bool:
    return any(fnmatch(name.lower(), pattern) for pattern in ARCHIVES)


def _chunks(config: Imagenet32Config, sources: list[Source]) -> Iterator[ImportChunk]:
    tenth = TRAIN_ROWS // len(TRAIN)
    rows = [tenth] * (len(TRAIN) - 1) + [TRAIN_ROWS - tenth * (len(TRAIN) - 1)]
    val = dict(zip(TRAIN, draw_val_rows(rows, config.val_rows, config.seed), strict=True))
    expected = {**dict(zip(TRAIN, rows, strict=True)), TEST: TEST_ROWS}
    for stem, member in published_members(sources, list(expected), ("", ".npz")):
        yield ImportChunk(
            stem, partial(_read, member, expected[stem], val.get(stem), config.labels)
        )


def _read(
    member: Member, rows: int, val: np.ndarray | None, labels: bool
) -> Mapping[str, SplitArrays]:
    if member.size > MAX_BATCH_BYTES:
        raise DataError(
            f"{member.where} is refused: expected at most {MAX_BATCH_BYTES:,} bytes, of {rows:,} "
            f"pictures of 32x32; got {member.size:,}; those of 64x64 are not read"
        )
    data = member.read()
    batch: object
    if member.name.endswith(".npz"):
        max_bytes = {"data": MAX_BATCH_BYTES, "labels": 2**16 + 8 * rows}
        batch = read_npz(data, member.where, max_bytes)
    else:
        batch = load_safely(data, member.where)
    del data  # as large as the batch
    x, y = picture_rows(batch, member.where, rows=rows, classes=CLASSES, first=1)
    return rows_by_split(x, y if labels else None, val)
