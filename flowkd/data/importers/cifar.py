"""Data set `cifar10`: 60,000 photographs of 32x32 pixels in ten classes, as published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
from pydantic import Field

from flowkd.data.chunked_import import ImportChunk, import_chunks
from flowkd.data.importers.cifar_batches import (
    PIXELS,
    SIDE,
    checked_labels,
    picture_rows,
    published_members,
    rows_by_split,
)
from flowkd.data.importers.importer import ImporterConfig
from flowkd.data.importers.sources import Member, Source
from flowkd.data.importers.unpickling import load_safely
from flowkd.data.manifest import Manifest, draw_val_rows
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError
from flowkd.names import DatasetName
from flowkd.store.store import Store

TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST = "test_batch"
ROWS = 10_000
MAX_PICKLE_BYTES = 2**26
CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


class CifarConfig(ImporterConfig):
    """CIFAR-10, in its binary or its Python version, with its classes as the context.

    Attributes:
        source: `cifar-10-binary.tar.gz` or `cifar-10-python.tar.gz`, or the folder that either
            makes; any fsspec URL.
        labels: Whether the class of each picture is stored as its context; default True.
        val_rows: Rows of train that are val, as many from each of the five batches; default 5000.
        seed: Seed of the choice of val, and of the order; default 0.
    """

    kind: Literal["cifar10"] = "cifar10"
    source: str = Field(min_length=1)
    name: DatasetName = "cifar10"
    labels: bool = True
    val_rows: int = Field(5000, ge=1)
    seed: int = Field(0, ge=0)

    def write(self, store: Store) -> Manifest:
        """Writes the data set and returns its manifest; test is the publisher's.

        Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009,
        https://www.cs.toronto.edu/~kriz/cifar.html, where both formats are described.

        Raises:
            DataError: A batch is missing, cut off, or not of 10,000 rows; a pickle among them asks
                for more than numpy arrays.
        """
        source = Source(self.source)
        draft = Manifest(
            name=self.name,
            kind="image",
            event_shape=(3, SIDE, SIDE),
            bins=256,
            classes=len(CLASSES) if self.labels else None,
            class_names=list(CLASSES) if self.labels else None,
            splits={},
            source=f"CIFAR-10 (Krizhevsky 2009), from {self.source}",
            config=self.model_dump(mode="json"),
        )
        chunks = _chunks(self, source)
        return import_chunks(store, draft, chunks, fingerprint=source.fingerprint(), seed=self.seed)


def _chunks(config: CifarConfig, source: Source) -> Iterator[ImportChunk]:
    val = dict(zip(TRAIN, draw_val_rows([ROWS] * 5, config.val_rows, config.seed), strict=True))
    for stem, member in published_members([source], (*TRAIN, TEST), ("", ".bin")):
        yield ImportChunk(stem, partial(_read, member, val.get(stem), config.labels))


def _read(member: Member, val: np.ndarray | None, labels: bool) -> Mapping[str, SplitArrays]:
    if member.name.endswith(".bin"):
        x, y = _read_binary(member)
    else:
        batch = load_safely(member.read(MAX_PICKLE_BYTES), member.where)
        x, y = picture_rows(batch, member.where, rows=ROWS, classes=len(CLASSES))
    return rows_by_split(x, y if labels else None, val)


def _read_binary(member: Member) -> tuple[np.ndarray, np.ndarray]:
    """Rows of one byte, the class, and 3,072: red, green and blue, each from the top left on."""
    expected = ROWS * (1 + PIXELS)
    if member.size != expected:
        raise DataError(
            f"expected {ROWS:,} rows of {1 + PIXELS:,} bytes, {expected:,} bytes, in "
            f"{member.where}; got {member.size:,} bytes; fetch the published file again"
        )
    rows = np.frombuffer(member.read(), np.uint8).reshape(ROWS, 1 + PIXELS)
    y = checked_labels(rows[:, 0], member.where, len(CLASSES))
    return rows[:, 1:].reshape(-1, 3, SIDE, SIDE), y
