"""Tells in a manifest what an import of pictures left out, and what it changed."""

from __future__ import annotations

from pathlib import PurePosixPath

from flowkd.data.importers.bad_pictures import REFUSED
from flowkd.data.importers.crops import is_hidden, is_picture
from flowkd.data.importers.local_folder import LINKS
from flowkd.data.importers.picture_files import SUFFIXES, WARNED
from flowkd.data.importers.pictures import COLOURS, COMPOSITED, FRAMES
from flowkd.data.manifest import LeftOut, Manifest
from flowkd.data.notes import Noted, Notes

OTHER = "other files"  # topic of notes
HIDDEN, NO_SUFFIX = "hidden", "without a suffix"


def wanted_picture(notes: Notes, name: str) -> bool:
    """Tells whether a file is a picture by its name, and notes it if it is not."""
    if is_picture(name):
        return True
    suffix = PurePosixPath(name).suffix.lower()
    notes.add(OTHER, HIDDEN if is_hidden(name) else suffix or NO_SUFFIX, name)
    return False


def describe_others(notes: Notes) -> str:
    """Returns how many files of which suffix are not taken, in words."""
    return _listed(notes, OTHER, "{count:,} {detail}")


def with_notes(manifest: Manifest, notes: Notes) -> Manifest:
    """Returns the manifest with what was left out, and with a remark on all that was noted."""
    left_out = [
        *(_left_out(noted, why) for why, noted in notes.about(REFUSED)),
        *(_left_out(noted, _why_other(detail)) for detail, noted in notes.about(OTHER)),
        *(_left_out(noted, f"links {where}") for where, noted in notes.about(LINKS)),
        *(
            LeftOut(what="frames", count=noted.count, why=f"{why} of a file", names=noted.names)
            for why, noted in notes.about(FRAMES)
        ),
    ]
    return manifest.model_copy(
        update={
            "left_out": [*manifest.left_out, *left_out],
            "remarks": [*manifest.remarks, *_remarks(notes)],
        }
    )


def _remarks(notes: Notes) -> list[str]:
    """Returns a sentence for each topic that has notes."""
    sentences = {
        REFUSED: ("{count} pictures are left out: {listed}.", "{count:,} {detail} ({names})"),
        OTHER: (
            "{count} files are left out, for their names do not end as those of pictures that "
            "are read (" + ", ".join(SUFFIXES) + "): {listed}.",
            "{count:,} {detail} ({names})",
        ),
        LINKS: ("{count} links are left out: {listed}.", "{count:,} {detail} ({names})"),
        FRAMES: (
            "{count} pages or frames are left out, {listed}; `frames: all` takes all.",
            "{detail} of their files ({names})",
        ),
        COMPOSITED: (
            "{count} pictures have transparent pixels, and were laid over a background: {listed}; "
            "`background` chooses another.",
            "{detail} ({names})",
        ),
        COLOURS: (
            "{count} pictures have other colours than sRGB, which are not converted to it; CMYK is "
            "converted by a plain formula: {listed}.",
            "{count:,} with {detail} ({names})",
        ),
        WARNED: ("Pillow warned of pictures: {listed}.", "{detail} ({names})"),
    }
    return [
        sentence.format(count=f"{notes.count(topic):,}", listed=_listed(notes, topic, item))
        for topic, (sentence, item) in sentences.items()
        if notes.count(topic)
    ]


def _listed(notes: Notes, topic: str, item: str) -> str:
    return ", ".join(
        item.format(detail=detail, count=noted.count, names=_names(noted))
        for detail, noted in notes.about(topic)
    )


def _names(noted: Noted) -> str:
    first = noted.names[:3]
    return ", ".join(first) + (", ..." if noted.count > len(first) else "")


def _left_out(noted: Noted, why: str) -> LeftOut:
    return LeftOut(what="files", count=noted.count, why=why, names=noted.names)


def _why_other(detail: str) -> str:
    return detail if detail in (HIDDEN, NO_SUFFIX) else f"of suffix {detail}, not a picture's"
