"""Walks a local folder: links are followed, and no file of it comes twice."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator

from flowkd.data.notes import Notes
from flowkd.errors import DataError

LINKS = "links"  # topic of notes


def walk_folder(root: str, notes: Notes) -> Iterator[tuple[str, int, str]]:
    """Yields relative name, size and path of the regular files below a folder, in no order.

    A link to a folder is followed unless that folder was walked already, a link to a file unless
    that file comes by itself: else a row could be in train and in test.

    Args:
        root: The folder.
        notes: Takes the links that are passed over.

    Raises:
        DataError: A folder may not be read.
    """
    folders: set[tuple[int, int]] = set()
    files: set[tuple[int, int]] = set()
    waiting, linked = deque([root]), deque[str]()
    while waiting:
        folder = waiting.popleft()
        identity = _identity(os.stat(folder))
        if identity in folders:
            notes.add(LINKS, "to folders that are read already", _relative(folder, root))
        else:
            folders.add(identity)
            for entry in _entries(folder):
                if entry.is_symlink():
                    linked.append(entry.path)
                elif entry.is_dir():
                    waiting.append(entry.path)
                elif entry.is_file():
                    info = entry.stat()
                    files.add(_identity(info))
                    yield _relative(entry.path, root), info.st_size, entry.path
        while linked and not waiting:  # when all is walked that is there by itself
            path = linked.popleft()
            name = _relative(path, root)
            try:
                info = os.stat(path)
            except OSError:
                notes.add(LINKS, "to nothing", name)
                continue
            if stat.S_ISDIR(info.st_mode):
                waiting.append(path)
            elif stat.S_ISREG(info.st_mode) and _identity(info) in files:
                notes.add(LINKS, "to files that are read already", name)
            elif stat.S_ISREG(info.st_mode):
                files.add(_identity(info))
                yield name, info.st_size, path


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be read: {error.strerror}; see whether it may be read"
        ) from error


def _relative(path: str, root: str) -> str:
    return path.removeprefix(root).lstrip(os.sep).replace(os.sep, "/")


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino
