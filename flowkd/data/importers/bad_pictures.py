"""Gathers the pictures that an import refuses, to name them all at once or to leave them out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from flowkd.data.importers.crops import MAX_PICTURE_BYTES
from flowkd.data.importers.damage import DamageError
from flowkd.data.importers.picture_files import BadPictureError, inspect_picture
from flowkd.data.importers.sources import Member, Source
from flowkd.data.notes import NAMES, Notes
from flowkd.errors import DataError

REFUSED = "refused"  # topic of notes
HEAD_BYTES = 2**16
BATCH = 256
# Raises BadPictureError for a picture of such a width and height, which messages call so.
Fits = Callable[[int, int, str], None]
WHOLE = (b"II*\0", b"MM\0*", b"RIFF")  # what TIFF and WebP say of themselves may be at their end


class BadPictures:
    """Pictures that are refused, of the whole import or of one of its chunks.

    Args:
        notes: Takes those that are left out.
        skip: Whether they are left out.
    """

    def __init__(self, notes: Notes, *, skip: bool) -> None:
        self._notes = notes
        self._skip = skip
        self._found = Notes()
        self._first: BadPictureError | DamageError | None = None
        self.names: set[str] = set()

    @contextmanager
    def gather(self, name: str) -> Iterator[None]:
        """Takes the error of a picture that is refused within the block, which then ends."""
        try:
            yield
        except (BadPictureError, DamageError) as error:
            self._first = self._first or error
            self.names.add(name)
            self._found.add(REFUSED, error.why, name)

    def check(self, where: str) -> None:
        """Raises a DataError that names the first of those refused, or notes that they are."""
        if self._skip:
            self._notes.merge(self._found)
        elif self._first is not None:
            hint = "or set skip_unreadable: true to leave such pictures out"
            message = f"{self._first}; {hint}"
            if len(self.names) > 1:
                message = (
                    f"{len(self.names):,} pictures in {where} are refused: "
                    f"{list_refused(self._found)}; the first: {message}"
                )
            raise DataError(message) from self._first


def list_refused(notes: Notes) -> str:
    """Returns how many pictures were refused for which reason, with the names of the first."""
    return ", ".join(
        f"{noted.count:,} {why} ({', '.join(noted.names)}{', ...' * (noted.count > NAMES)})"
        for why, noted in notes.about(REFUSED)
    )


def check_headers(
    source: Source, files: Sequence[Member], fits: Fits, notes: Notes, *, skip: bool
) -> list[Member]:
    """Returns the pictures whose headers are right, before any is decoded.

    Args:
        source: Where they lie.
        files: All of them.
        fits: Says how large they must be.
        notes: Takes those that are left out.
        skip: Whether those refused are left out.

    Raises:
        DataError: Some are refused; the first of them are named.
    """
    bad = BadPictures(notes, skip=skip)
    for file, head in _heads(source, files):
        with bad.gather(file.name):
            _check_member(file, file.head(HEAD_BYTES) if head is None else head, fits)
    bad.check(source.uri)
    return [file for file in files if file.name not in bad.names]


def check_header(data: bytes, where: str, fits: Fits) -> None:
    """Raises BadPictureError where a picture's header shows it to be wrong, or of a wrong size."""
    found = inspect_picture(io.BytesIO(data), where)
    fits(found.width, found.height, where)


def _check_member(file: Member, head: bytes, fits: Fits) -> None:
    if file.size > MAX_PICTURE_BYTES:
        problem = f"is refused: {file.size:,} bytes; expected at most {MAX_PICTURE_BYTES:,}"
        raise BadPictureError(file.where, problem, "convert it", "of too many bytes")
    whole = len(head) == file.size
    if not whole and head.startswith(WHOLE):
        head, whole = file.read(MAX_PICTURE_BYTES), True
    try:
        check_header(head, file.where, fits)
    except BadPictureError:
        if whole:
            raise
        check_header(file.read(MAX_PICTURE_BYTES), file.where, fits)


def _heads(source: Source, files: Sequence[Member]) -> Iterator[tuple[Member, bytes | None]]:
    """Yields each file, with its first bytes where many requests at a time save much time."""
    if source.kind != "folder" or source.is_local:
        yield from ((file, None) for file in files)
        return
    for start in range(0, len(files), BATCH):
        batch = files[start : start + BATCH]
        paths = [f"{source.path.rstrip('/')}/{file.name}" for file in batch]
        ends = [min(file.size, HEAD_BYTES) for file in batch]
        heads = source.fs.cat_ranges(paths, [0] * len(batch), ends, on_error="return")
        for file, head in zip(batch, heads, strict=True):
            yield file, head if isinstance(head, bytes) else None
