"""Files of the archive data.tar.gz that the authors of Masked Autoregressive Flow published.

Source: https://zenodo.org/record/1161203, data.tar.gz.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import IO, TypeVar

from flowkd.data.importers.damage import explain_damage
from flowkd.data.importers.sources import GIB, Member, Source
from flowkd.errors import DataError

ADDRESS = "https://zenodo.org/record/1161203"
MAX_FILE_BYTES = 8 * GIB  # the largest member, a table of text, has a twentieth of it

T = TypeVar("T")


def read_members(uri: str, paths: Sequence[str], read: Callable[[Member], T]) -> list[T]:
    """Returns what `read` returns for each of the archive's files, in the order of the paths.

    Args:
        uri: The archive; the folder that it was unpacked to, its folder `data`, or the data set's
            own in there; or, for a data set of one file, the file.
        paths: Paths within `data`, such as `power/data.npy`.
        read: Called for each file while the archive is open at it.

    Raises:
        DataError: One is missing, or the archive is damaged, or what `read` raises.
    """
    source = Source(uri)
    if source.kind == "file" and len(paths) == 1:
        return [read(member) for member in source.members()]
    others: list[str] = []

    def wanted(name: str) -> bool:
        if _place(name, paths) is None:
            others.append(name)
        return _place(name, paths) is not None

    found: dict[str, T] = {}
    with closing(source.members(wanted)) as members:
        for member in members:
            place = _place(member.name, paths)
            if place is not None and place not in found:
                found[place] = read(member)
            if len(found) == len(paths):
                break
    missing = [path for path in paths if path not in found]
    if missing:
        raise DataError(
            f"{uri} has no {' and no '.join(missing)}; expected the data.tar.gz of {ADDRESS}, the "
            f"folder that it was unpacked to, or {paths[0].split('/')[0]} in there; it has: "
            f"{', '.join(others[:5]) or 'nothing'}{', ...' if len(others) > 5 else ''}"
        )
    return [found[path] for path in paths]


def _place(name: str, paths: Sequence[str]) -> str | None:
    """Returns the path that a file's name stands for: all of it, or the part in its own folder."""
    for path in paths:
        if f"data/{path}" == name or f"data/{path}".endswith(f"/{name}"):
            return path
    return None


@contextmanager
def spooled(member: Member) -> Iterator[IO[bytes]]:
    """Yields a seekable copy of a member on the local disk.

    Raises:
        DataError: It is too large, cut off or damaged.
    """
    if member.size > MAX_FILE_BYTES:
        raise DataError(
            f"{member.where} is refused: expected at most {MAX_FILE_BYTES:,} bytes; it has "
            f"{member.size:,}"
        )
    with tempfile.TemporaryFile() as copy:
        with explain_damage(member.where, member.size), member.opened() as file:
            shutil.copyfileobj(file, copy, 2**20)
        if copy.tell() != member.size:
            raise DataError(
                f"{member.where} is cut off: expected {member.size:,} bytes; got {copy.tell():,}; "
                f"fetch {member.where.split(' in ')[-1]} again"
            )
        copy.seek(0)
        yield copy
