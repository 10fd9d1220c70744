"""Tars of pictures in WebDataset's layout, read from beginning to end, split by name."""

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

from flowkd.data.chunked_import import ImportChunk
from flowkd.data.importers.bad_pictures import BadPictures, check_header
from flowkd.data.importers.crops import MAX_PICTURE_BYTES, CropsConfig, check_size, is_picture
from flowkd.data.importers.picture_notes import wanted_picture
from flowkd.data.importers.sources import TARS, Source
from flowkd.data.notes import Notes
from flowkd.data.seeds import derive_seed
from flowkd.data.writing import SplitArrays
from flowkd.errors import DataError

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MAX_LABEL_BYTES = 2**10
MAX_PICTURES = 16  # of one sample


@dataclass(frozen=True)
class Sample:
    """A picture's file, with the class that the tar has beside it.

    Attributes:
        key: Name that its files share: all before the first dot.
        name: Name of the picture's file.
        tar: URI of the tar.
        where: What error messages call it.
        picture: Bytes of the picture's file.
        label: Content of the file `key.cls`; None if there is none.
    """

    key: str
    name: str
    tar: str
    where: str
    picture: bytes
    label: bytes | None


def tars_at(uri: str, notes: Notes) -> list[Source]:
    """Returns the tars that a source names, in order; none if it is something else.

    Args:
        uri: A tar, a folder that directly has tars, or tars by `{000..012}` or `*`.
        notes: Takes the files beside the tars of a folder.

    Raises:
        DataError: One of those named is missing, or a folder has pictures beside its tars.
    """
    span = RANGE.search(uri)
    if span:
        first, last = span.groups()
        return [
            tar
            for number in range(int(first), int(last) + 1)
            for tar in tars_at(
                uri[: span.start()] + f"{number:0{len(first)}d}" + uri[span.end() :], notes
            )
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
    if not tars:
        return []
    loose = next(source.members(lambda name: _is_loose(name, notes)), None)
    if loose is not None:
        raise DataError(
            f"expected tars or pictures in {uri}; it has both, {tars[0].name} and {loose.name}; "
            f"name the tars as in '{uri.rstrip('/')}/*.tar', or move them"
        )
    return tars


def _is_loose(name: str, notes: Notes) -> bool:
    """Tells whether a file in a folder of tars is a picture; notes it if it is neither."""
    return not ("/" not in name and _is_tar(name)) and wanted_picture(notes, name)


def _is_tar(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.lower().endswith(TARS) and not name.startswith(".")


def tar_chunks(
    tars: Sequence[Source],
    count: int,
    rows: Callable[[Sample, Notes], tuple[np.ndarray, int | None]],
    split: Callable[[Sample], str],
    notes: Notes,
    *,
    skip: bool,
) -> Iterator[ImportChunk]:
    """Yields chunks of `count` pictures each, none with pictures of two tars.

    A tar cannot be read from the middle: pictures that an earlier attempt has written are read
    past, but not decoded. Each row's group is a hash of its sample's key, by which it is split.

    Args:
        tars: Read one after the other.
        count: Number of pictures in a chunk.
        rows: Returns the crops of a sample, and their class; notes what it leaves out of it.
        split: Returns the split of a sample.
        notes: Takes the files that are no pictures.
        skip: Whether pictures that are refused are left out.
    """
    for tar in tars:
        found = _samples(tar, notes)
        for number, first in enumerate(found):
            rest = islice(found, count - 1)
            key, own = f"{tar.uri} {number}", Notes()
            samples = chain([first], rest)
            yield ImportChunk(
                key, partial(_read, samples, rows, split, BadPictures(own, skip=skip), own), own
            )
            for _ in rest:  # what the chunk has not read
                pass
        notes.merge(tar.notes)


def check_tars(tars: Sequence[Source], config: CropsConfig) -> None:
    """Raises DataError, which names them, where pictures of tars are refused by their headers."""
    bad = BadPictures(Notes(), skip=False)
    for tar in tars:
        for sample in _samples(tar, Notes()):
            with bad.gather(sample.where):
                check_header(sample.picture, sample.where, partial(check_size, config=config))
    bad.check("the tars")


def split_by_name(key: str, *, val_fraction: float, test_fraction: float, seed: int) -> str:
    """Returns the split of a sample by a hash of its key: the same in whatever tar it lies."""
    draw = derive_seed(seed, f"images/split/{key}") / 2**63
    if draw < test_fraction:
        return "test"
    return "val" if draw < test_fraction + val_fraction else "train"


def _read(
    samples: Iterator[Sample],
    rows: Callable[[Sample, Notes], tuple[np.ndarray, int | None]],
    split: Callable[[Sample], str],
    bad: BadPictures,
    notes: Notes,
) -> Mapping[str, SplitArrays]:
    crops: dict[str, list[np.ndarray]] = defaultdict(list)
    labels: dict[str, list[int]] = defaultdict(list)
    groups: dict[str, list[int]] = defaultdict(list)
    where = ""
    for sample in samples:
        where = sample.tar
        with bad.gather(sample.name):
            found, label = rows(sample, notes)
            chosen = split(sample)
            crops[chosen].append(found)
            groups[chosen] += [derive_seed(0, f"images/group/{sample.key}")] * len(found)
            if label is not None:
                labels[chosen] += [label] * len(found)
    bad.check(where)
    return {
        chosen: SplitArrays(
            np.concatenate(found),
            np.array(labels[chosen], np.int64) if chosen in labels else None,
            np.array(groups[chosen], np.int64),
        )
        for chosen, found in crops.items()
    }


def _samples(tar: Source, notes: Notes) -> Iterator[Sample]:
    """Yields the pictures of a tar: files that follow each other under one key are one sample."""

    def wanted(name: str) -> bool:
        return name.endswith(".cls") or wanted_picture(notes, name)

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
            yield Sample(key, member.name, tar.uri, member.where, data, label)


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
