"""Tars of pictures, as WebDataset writes them: read from beginning to end, split by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby, islice
from pathlib import PurePosixPath

import fsspec
import numpy as np

from flowkd.data.importers.crops import MAX_PICTURE_BYTES, is_picture
from flowkd.data.importers.sources import TARS, Source
from flowkd.data.importing import ImportPart
from flowkd.data.shuffle import derive_seed
from flowkd.data.writing import Arrays
from flowkd.errors import DataError

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_LABEL_BYTES = 2**10
MAX_PICTURES = 16  # of one sample


@dataclass(frozen=True)
class Sample:
    """A picture's file, with the class that the tar has beside it.

    Attributes:
        key: What the names of its files have in common: all before the first dot.
        name: The picture's own name.
        where: What error messages call it.
        picture: The file's bytes.
        label: What the file `key.cls` says, if there is one.
    """

    key: str
    name: str
    where: str
    picture: bytes
    label: bytes | None


def tars_at(uri: str) -> list[Source]:
    """Returns the tars that a source names, in order; none if it is something else.

    Args:
        uri: A tar, a folder that directly has tars, or tars by `{000..012}` or `*`.

    Raises:
        DataError: One of those named is missing, or a folder has pictures beside its tars.
    """
    span = RANGE.search(uri)
    if span:
        first, last = span.groups()
        return [
            tar
            for number in range(int(first), int(last) + 1)
            for tar in tars_at(uri[: span.start()] + f"{number:0{len(first)}d}" + uri[span.end() :])
        ]
    if "*" in uri:
        fs, path = fsspec.core.url_to_fs(uri)
        found = sorted(name for name in fs.glob(path) if _is_tar(name))
        if not found:
            raise DataError(f"there is no tar {uri!r}; expected at least one")
        return [Source(fs.unstrip_protocol(name)) for name in found]
    source = Source(uri)
    if source.kind != "folder":
        return [source] if source.kind == "tar" else []
    paths = sorted(source.fs.ls(source.path, detail=False))
    tars = [Source(f"{uri.rstrip('/')}/{PurePosixPath(p).name}") for p in paths if _is_tar(p)]
    loose = next(source.members(is_picture), None) if tars else None
    if loose is not None:
        raise DataError(
            f"expected tars or pictures in {uri}; it has both, {tars[0].name} and {loose.name}; "
            f"name the tars as in '{uri.rstrip('/')}/*.tar', or move them"
        )
    return tars


def _is_tar(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.lower().endswith(TARS) and not name.startswith(".")


def tar_parts(
    tars: Sequence[Source],
    count: int,
    rows: Callable[[Sample], tuple[np.ndarray, int | None]],
    split: Callable[[str], str],
) -> Iterator[ImportPart]:
    """Yields parts of as many pictures each, none of which has pictures of two tars.

    A tar cannot be entered in the middle: what an earlier attempt has written is read past, but not
    decoded.

    Args:
        tars: Read one after the other.
        count: The pictures of a part.
        rows: Returns the crops of a sample, and their class.
        split: Returns the split of the key of a sample.
    """
    for tar in tars:
        found = _samples(tar)
        for number, first in enumerate(found):
            rest = islice(found, count - 1)
            key = f"{tar.uri} {number}"
            yield ImportPart(key, partial(_read, chain([first], rest), rows, split))
            for _ in rest:  # what the part has not asked for
                pass


def split_by_name(key: str, *, val_fraction: float, test_fraction: float, seed: int) -> str:
    """Returns the split of a sample by a hash of its key: the same in whatever tar it lies."""
    draw = derive_seed(seed, f"images/split/{key}") / 2**63
    if draw < test_fraction:
        return "test"
    return "val" if draw < test_fraction + val_fraction else "train"


def _read(
    samples: Iterator[Sample],
    rows: Callable[[Sample], tuple[np.ndarray, int | None]],
    split: Callable[[str], str],
) -> Mapping[str, Arrays]:
    crops: dict[str, list[np.ndarray]] = defaultdict(list)
    labels: dict[str, list[int]] = defaultdict(list)
    for sample in samples:
        found, label = rows(sample)
        chosen = split(sample.key)
        crops[chosen].append(found)
        if label is not None:
            labels[chosen] += [label] * len(found)
    return {
        chosen: Arrays(
            np.concatenate(found),
            np.array(labels[chosen], np.int64) if chosen in labels else None,
        )
        for chosen, found in crops.items()
    }


def _samples(tar: Source) -> Iterator[Sample]:
    """Yields the pictures of a tar: files that follow each other under one key are one sample."""

    def wanted(name: str) -> bool:
        return is_picture(name) or name.endswith(".cls")

    for key, members in groupby(tar.members(wanted), lambda member: _key(member.name)):
        label, pictures = None, []
        for member in members:
            if is_picture(member.name):
                pictures.append((member, member.read(MAX_PICTURE_BYTES)))
                if len(pictures) > MAX_PICTURES:
                    raise DataError(
                        f"expected at most {MAX_PICTURES} pictures under one name in {tar.uri}; "
                        f"got more under {key}: a name ends at its first dot; rename them"
                    )
            else:
                label = member.read(MAX_LABEL_BYTES)
        for member, data in pictures:
            yield Sample(key, member.name, member.where, data, label)


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return str(path.with_name(path.name.split(".")[0] or path.name))


def label_of(sample: Sample, classes: int) -> int:
    """Returns the class of a sample.

    Raises:
        DataError: The tar has none beside the picture, or not a number below `classes`.
    """
    if sample.label is None:
        raise DataError(
            f"expected {sample.key}.cls, with the class, beside {sample.where}; it is not there; "
            f"add it, or set labels: false"
        )
    text = sample.label.decode("latin1").strip()
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or int(text) >= classes:
        raise DataError(
            f"expected a class of 0 to {classes - 1} in {sample.key}.cls beside {sample.where}; "
            f"got {text[:40]!r}; set classes: to their number"
        )
    return int(text)
