"""Opens picture files: the one place where Pillow decodes what somebody else wrote.

A file is looked at before it is decoded: Pillow is told the formats that are accepted, so that it
starts no other program and no rare decoder, and what its header says is checked first.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from flowkd.data.notes import Notes
from flowkd.errors import DataError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 2**26
MAX_FRAME_PIXELS = 2**30  # of all frames of a file together
EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr")
BITS_PER_SAMPLE, COLOR_MAP, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 320, 338, 339  # TIFF's tags
UNSIGNED = 1
WARNED = "warned"  # topic of notes

# How files begin that often have a picture's name.
SIGNATURES = {
    b"\x89PNG": "a PNG", b"\xff\xd8": "a JPEG", b"II*\0": "a TIFF", b"MM\0*": "a TIFF",
    b"RIFF": "a WebP", b"BM": "a BMP", b"GIF8": "a GIF", b"%!PS": "PostScript", b"%PDF": "a PDF",
    b"<svg": "an SVG", b"<": "HTML or XML", b"8BPS": "a Photoshop file",
    b"\0\0\0": "HEIC, AVIF or JPEG 2000", b"PK": "a zip",
    b"version https://git-lfs": "a pointer of Git LFS, whose file was not fetched",
}  # fmt: skip
ACCEPTED = ("a PNG", "a JPEG", "a TIFF", "a WebP", "a BMP")


class BadPictureError(DataError):
    """A picture that is refused.

    Args:
        where: What messages call the file.
        problem: What is wrong with it, as the sentence's predicate.
        remedy: What to do.
        why: The problem in general, as what follows "pictures that are".
    """

    def __init__(self, where: str, problem: str, remedy: str, why: str) -> None:
        super().__init__(f"{where} {problem}; {remedy}")
        self.why = why


@dataclass(frozen=True)
class PictureHeader:
    """What a picture's file says of itself: width and height in pixels."""

    width: int
    height: int


@contextmanager
def open_picture(file: IO[bytes], where: str, notes: Notes) -> Iterator[ImageFile.ImageFile]:
    """Opens a picture and checks its header; errors of Pillow's within the block are translated.

    Args:
        file: The file, at its beginning.
        where: What messages call it.
        notes: Takes Pillow's warnings.

    Raises:
        BadPictureError: It is empty, of a format that is not accepted, damaged or cut off, has
            more than MAX_PIXELS pixels or 8 bits a channel, or channels of another meaning.
    """
    head = file.read(32)
    if not head:
        raise BadPictureError(where, "is empty", "replace or remove it", "empty")
    try:
        with noted_warnings(where, notes):
            picture = Image.open(file, formats=FORMATS)
        with picture:
            with noted_warnings(where, notes):
                check_pixels(picture.size, where)
                _check_values(picture, head, where)
            yield picture
    except Image.DecompressionBombError as error:
        problem = f"is refused: it claims far too many pixels; expected at most {MAX_PIXELS}"
        raise BadPictureError(
            where, problem, "scale it down before", "of too many pixels"
        ) from error
    except UnidentifiedImageError as error:
        raise _unidentified(head, where) from error
    except DataError:
        raise
    except Exception as error:  # a damaged file makes Pillow's decoders raise almost anything
        raise BadPictureError(
            where,
            f"cannot be read as a picture, or is truncated: {_plain(error)}",
            "replace or remove it",
            "cut off or damaged",
        ) from error


def inspect_picture(file: IO[bytes], where: str) -> PictureHeader:
    """Returns what a picture's header says, without decoding it; raises as `open_picture` does."""
    with open_picture(file, where, Notes()) as picture:
        return PictureHeader(*picture.size)


@contextmanager
def noted_warnings(where: str, notes: Notes) -> Iterator[None]:
    """Notes what Pillow warns of within the block: that it has passed over something."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield
    for warning in warned:
        if not issubclass(warning.category, Image.DecompressionBombWarning):
            notes.add(WARNED, _plain(warning.message), where)


def check_pixels(size: tuple[int, int], where: str) -> None:
    """Raises BadPictureError where a picture has more than MAX_PIXELS pixels."""
    if size[0] * size[1] > MAX_PIXELS:
        problem = f"is refused: {size[0]}x{size[1]} pixels; expected at most {MAX_PIXELS}"
        raise BadPictureError(where, problem, "scale it down before", "of too many pixels")


def _check_values(picture: ImageFile.ImageFile, head: bytes, where: str) -> None:
    """Raises BadPictureError where 8 bits or the colours do not hold what the file has."""
    tags = picture.tag_v2 if isinstance(picture, TiffImagePlugin.TiffImageFile) else {}
    bits = _bits(picture, head)
    if bits > 8:
        problem = f"has {bits} bits a channel; expected at most 8 bits a channel"
        raise BadPictureError(
            where, problem, "convert the picture to 8 bits", f"of {bits} bits a channel"
        )
    formats = set(tags.get(SAMPLE_FORMAT, (UNSIGNED,)))
    if formats != {UNSIGNED} or picture.mode not in (*EIGHT_BITS, "RGBX"):
        problem = f"has values of another kind than bytes of grey or colour: mode {picture.mode!r}"
        raise BadPictureError(where, problem, "convert the picture to RGB", "of other values")
    if 0 in tags.get(EXTRA_SAMPLES, ()) or picture.mode == "RGBX":
        problem = "has a channel that is neither colour nor transparency"
        raise BadPictureError(where, problem, "save its colours alone", "of further channels")
    if any(value % 256 not in (0, value // 256) for value in tags.get(COLOR_MAP, ())):
        problem = "has a palette of 16 bits a channel; expected at most 8 bits a channel"
        raise BadPictureError(where, problem, "convert the picture to RGB", "of 16 bits a channel")


def _bits(picture: ImageFile.ImageFile, head: bytes) -> int:
    """Returns the bits a channel that the file has, which Pillow's mode does not tell."""
    if picture.format == "PNG":
        return head[24]
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return max(picture.tag_v2.get(BITS_PER_SAMPLE, (1,)))
    return int(getattr(picture, "bits", 8))


def grey_levels(picture: ImageFile.ImageFile) -> int:
    """Returns the factor by which Pillow scales grey of fewer than 8 bits when it decodes it."""
    raw = picture.tile[0].args if picture.tile else ""
    bits = re.fullmatch(r"L;([24])", raw) if isinstance(raw, str) else None
    return 255 // (2 ** int(bits[1]) - 1) if bits else 1


def _unidentified(head: bytes, where: str) -> BadPictureError:
    kind = next((kind for start, kind in SIGNATURES.items() if head.startswith(start)), None)
    if kind in ACCEPTED:
        problem = (
            f"cannot be read as a picture, or is truncated: it begins as {kind}, and goes on "
            f"wrongly or is of a rare kind"
        )
        return BadPictureError(where, problem, "replace or remove it", "cut off or damaged")
    seems = f"it seems to be {kind}" if kind else "it is of no known kind"
    problem = f"cannot be read as a picture: {seems}; expected {', '.join(FORMATS)}"
    why = f"of another format: {kind or 'unknown'}"
    return BadPictureError(where, problem, "convert or remove it", why)


def _plain(error: Exception | str) -> str:
    """Returns Pillow's words without memory addresses and unprintable characters."""
    text = re.sub(r"<[^<>]* at 0x[0-9a-f]+>", "the file", str(error)) or type(error).__name__
    return "".join(char if char.isprintable() else "?" for char in text)[:200]
