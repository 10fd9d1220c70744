"""Looks at pictures, by the headers of some: which part of them makes a row, and their classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from flowkd.config import parse_config
from flowkd.data.importers.images import ImagesConfig
from flowkd.data.importers.picture_files import BadPictureError, open_picture
from flowkd.data.importers.picture_notes import wanted_picture
from flowkd.data.importers.sources import Member, Source
from flowkd.data.importers.split_folders import splits_of_folders
from flowkd.data.importers.tiles import CROPS_A_SIDE
from flowkd.data.notes import Notes
from flowkd.errors import DataError
from jobs.workflow.look import SAMPLE_FILES, Look, listed

CROP = 32  # larger pictures take hours on a CPU
GRID_CROP, ENOUGH_ROWS = 16, 5000
FEW_FILES = 200  # of fewer, val and test have too few for errors over them
MOST_CLASSES, LEAST_OF_CLASS = 20, 10
GREY = ("1", "L", "LA", "La")
DIVISOR = 4  # of a side, so that a flow of two levels can halve it


def pictures_of(source: str) -> list[Member]:
    """Returns the picture files of a folder or a zip, unread; none of anything else."""
    found = Source(source)
    if found.kind not in ("folder", "zip"):
        return []
    notes = Notes()
    with found.all_members(lambda name: wanted_picture(notes, name)) as members:
        return sorted(members, key=lambda member: member.name)


def look_at_pictures(source: str, name: str, options: dict[str, Any]) -> Look:
    """Returns what an import of a folder or a zip of pictures should say.

    Args:
        source: As the import takes it.
        name: Of the data set.
        options: Keys of the import that the user has set.

    Raises:
        ConfigError: A key that there is not, or not this value of it.
        DataError: There are no pictures that can be read.
    """
    values = {"name": name, "source": source, **options}
    parse_config(ImagesConfig, values, source="what is set")
    found, notes = Source(source), Notes()
    with found.all_members(lambda each: wanted_picture(notes, each)) as members:
        files = sorted(members, key=lambda member: member.name)
        step = max(1, len(files) // SAMPLE_FILES)
        sizes, grey, bad = _headers(files[::step])
    if not sizes:
        raise DataError(f"expected pictures in {source}; got {bad or 'none'}")
    look = Look({"kind": "images", "name": name, "source": source}, bins=256)
    data = look.data
    assert isinstance(data, dict)
    _crop(look, data, sizes, len(files))
    if grey:
        data["channels"], look.why["channels"] = 1, "all are grey"
    if bad:
        data["skip_unreadable"] = True
        look.why["skip_unreadable"] = f"some cannot be read: {bad}"
    paths = [tuple(file.name.split("/")) for file in files]
    if found.kind == "zip" and len({path[0] for path in paths}) == 1:
        paths = [path[1:] or path for path in paths]  # below the folder that was zipped
    _labels(look, data, paths, source)
    data.update(options)
    for key in options:
        look.why.pop(key, None)
    smallest, largest = min(sizes), max(sizes)
    same = "all" if smallest == largest else f"{smallest[0]} x {smallest[1]} to"
    look.about = f"{len(files):,} pictures, {same} {largest[0]} x {largest[1]} pixels"
    look.event_shape = (int(data.get("channels", 3)), int(data["crop"]), int(data["crop"]))
    return look


def _headers(files: Sequence[Member]) -> tuple[list[tuple[int, int]], bool, str]:
    """Returns the sizes of pictures, whether all are grey, and why one cannot be read, if so."""
    sizes, grey, bad = [], True, ""
    for file in files:
        try:
            with file.opened() as opened, open_picture(opened, file.where, Notes()) as picture:
                sizes.append(picture.size)
                grey = grey and picture.mode in GREY
        except BadPictureError as error:
            bad = str(error)
    return sizes, grey, bad


def _crop(look: Look, data: dict[str, Any], sizes: list[tuple[int, int]], files: int) -> None:
    """Chooses what of a picture is a row: all of it, scaled down; or parts, of few large ones."""
    least = min(min(size) for size in sizes)
    if least < CROP or max(max(size) for size in sizes) == CROP:
        data["crop"] = least - least % DIVISOR if least >= DIVISOR else least
        look.why["crop"] = "side of a row, as large as the smallest picture"
        look.rows = files
        return
    width, height = (sorted(each)[len(sizes) // 2] for each in zip(*sizes, strict=True))
    parts = (width // GRID_CROP) * (height // GRID_CROP)
    if files < ENOUGH_ROWS // 5 and files * parts >= ENOUGH_ROWS:
        data["crop"], data["mode"] = GRID_CROP, "grid"
        look.why["mode"] = "few large pictures: all parts of this side, side by side, are rows"
        if files < FEW_FILES and least >= CROPS_A_SIDE * GRID_CROP:
            data["split_by"] = "tile"
            look.why["split_by"] = "each split has squares of all pictures: a few would be no test"
        look.hints.append(
            (f"mode: center, crop: {CROP}, resize: {CROP}", "whole pictures, scaled down")
        )
        look.rows = files * parts
        return
    data["crop"], data["resize"] = CROP, CROP
    look.why["resize"] = "pictures are scaled down to it; larger takes longer"
    look.hints.append((f"mode: grid, crop: {GRID_CROP}", "parts of the pictures; without resize"))
    look.rows = files


def _labels(look: Look, data: dict[str, Any], paths: list[tuple[str, ...]], source: str) -> None:
    """Takes the first subfolders for classes, where they are few and have enough pictures."""
    splits = splits_of_folders(paths, source)
    if splits:
        paths = [path[1:] for path in paths]
        look.remarks.append(f"Its folders are the splits: {listed(sorted(set(splits)))}.")
        data.pop("split_by", None)
    if not all(len(path) > 1 for path in paths):
        return
    counts = Counter(path[0] for path in paths)
    if not 2 <= len(counts) <= MOST_CLASSES or min(counts.values()) < LEAST_OF_CLASS:
        if len(counts) > 1:
            look.hints.append(("labels: true", f"{len(counts)} folders as classes"))
        return
    data["labels"] = True
    look.classes = len(counts)
    look.why["labels"] = (
        f"{len(counts)} folders are classes: {listed(sorted(counts))}; the flow learns p(picture | "
        f"class). Leave it out to learn all as one"
    )
