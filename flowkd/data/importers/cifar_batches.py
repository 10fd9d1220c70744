"""Batches of 32x32 pictures in the layout of CIFAR-10, in which ImageNet32 is published as well."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from flowkd.data.importers.sources import Member, Source
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError

SIDE = 32
PIXELS = 3 * SIDE * SIDE


def published_members(
    sources: Sequence[Source], stems: Collection[str], suffixes: Sequence[str]
) -> Iterator[tuple[str, Member]]:
    """Yields each published file with its stem, in whichever folder of the sources it lies.

    Args:
        sources: Searched one after the other.
        stems: Names without suffixes, such as `data_batch_1`.
        suffixes: Suffixes that they may have, such as `.bin`.

    Raises:
        DataError: A file is missing or there twice; for a tar this shows at the end.
    """
    files = {stem + suffix: stem for stem in stems for suffix in suffixes}

    def wanted(name: str) -> bool:
        return PurePosixPath(name).name in files

    if all(source.kind != "tar" for source in sources):
        _check([m for source in sources for m in source.members(wanted)], files, sources)
    seen: list[Member] = []
    for source in sources:
        for member in source.members(wanted):
            seen.append(member)
            _check(seen, files, None)
            yield files[PurePosixPath(member.name).name], member
    _check(seen, files, sources)


def picture_rows(
    batch: object, where: str, *, rows: int, classes: int, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pictures (N, 3, 32, 32) uint8 and classes (N,) int64 of a batch.

    Args:
        batch: A mapping with `data`, rows of all red, then all green, then all blue, and `labels`.
        where: What error messages call the batch.
        rows: Number of rows that it must have.
        classes: Number of classes.
        first: Label of the first class; default 0.

    Raises:
        DataError: The batch is anything else.
    """
    if not isinstance(batch, Mapping) or not {"data", "labels"} <= batch.keys():
        keys = list(batch) if isinstance(batch, Mapping) else type(batch).__name__
        raise DataError(f"expected keys 'data' and 'labels' in {where}; got {keys}")
    data = np.asarray(batch["data"])
    if data.dtype != np.uint8 or data.shape != (rows, PIXELS):
        hint = ", which are of 64x64 pixels" if data.shape[1:] == (4 * PIXELS,) else ""
        raise DataError(
            f"expected data of {rows:,} rows of {PIXELS:,} uint8 (32x32 pixels) in {where}; got "
            f"shape {data.shape} of {data.dtype}{hint}; fetch the published file again"
        )
    try:
        labels = np.asarray(batch["labels"])
    except ValueError:  # nested and ragged
        labels = np.empty(0, object)
    if labels.dtype.kind not in "iu" or labels.shape != (rows,):
        raise DataError(
            f"expected {rows:,} integer labels in {where}; got shape {labels.shape} of "
            f"{labels.dtype}; fetch the published file again"
        )
    return data.reshape(-1, 3, SIDE, SIDE), checked_labels(labels, where, classes, first)


def checked_labels(labels: np.ndarray, where: str, classes: int, first: int = 0) -> np.ndarray:
    """Returns labels as int64 that begin with 0; raises DataError where one is out of range."""
    last = first + classes - 1
    if len(labels) and not first <= labels.min() <= labels.max() <= last:
        raise DataError(
            f"expected labels {first} to {last} in {where}; got {labels.min()} to {labels.max()}"
        )
    return labels.astype(np.int64) - first


def rows_by_split(
    x: np.ndarray, y: np.ndarray | None, val: np.ndarray | None
) -> dict[str, SplitArrays]:
    """Returns a batch's rows: train, and val at the indices `val`; without such indices, test."""
    if val is None:
        return {"test": SplitArrays(x, y)}
    is_val = np.zeros(len(x), bool)
    is_val[val] = True
    return {
        split: SplitArrays(x[chosen], None if y is None else y[chosen])
        for split, chosen in (("train", ~is_val), ("val", is_val))
    }


def _check(
    found: Sequence[Member], files: Mapping[str, str], sources: Sequence[Source] | None
) -> None:
    """Raises DataError where a file is there twice or, if the sources are through, missing."""
    where: dict[str, str] = {}
    for member in found:
        stem = files[PurePosixPath(member.name).name]
        if stem in where:
            raise DataError(
                f"expected {stem} once; found {where[stem]} and {member.where}; name the folder or "
                f"the archive of which the data are meant"
            )
        where[stem] = member.where
    missing = [stem for stem in dict.fromkeys(files.values()) if stem not in where]
    if sources is not None and missing:
        places = " and ".join(source.uri for source in sources)
        raise DataError(
            f"missing in {places}: {', '.join(missing)}; expected each of "
            f"{', '.join(dict.fromkeys(files.values()))}; fetch what is missing"
        )
