"""Atomic writes of files on a local disk: a file is there whole, or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Errors of filesystems without hard links: exFAT, some network and FUSE filesystems.
WITHOUT_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


def replace_file(path: str, data: bytes) -> None:
    """Writes a file whole, replacing what was there; readers see the old or the new."""
    with _written_beside(path, data) as temporary:
        os.replace(temporary, path)


def create_file(path: str, data: bytes) -> bool:
    """Writes a file whole where there is none; False where there is one, which stays as it is.

    Of several processes that create the same file at once, exactly one is told True.
    """
    with _written_beside(path, data) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in WITHOUT_LINKS:
                raise
            return _create_in_place(path, data)
    return True


def make_folder(path: Path) -> None:
    """Makes a folder, and those above it that are missing, which no other user may enter."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def _written_beside(path: str, data: bytes) -> Iterator[str]:
    """Yields the name of a file of the same folder that holds the data, and removes it."""
    # Its name has nothing of the file's, which others may look for by a part of it.
    temporary = str(Path(path).with_name(f"{uuid.uuid4().hex}.tmp"))
    make_folder(Path(path).parent)
    try:
        _write_new(temporary, data)
        yield temporary
    finally:
        Path(temporary).unlink(missing_ok=True)


def _create_in_place(path: str, data: bytes) -> bool:
    # Still exclusive, but a reader may see half of it, and after a crash half of it stays.
    try:
        _write_new(path, data)
    except FileExistsError:
        return False
    except OSError:
        Path(path).unlink(missing_ok=True)
        raise
    return True


def _write_new(path: str, data: bytes) -> None:
    with open(path, "xb") as file:  # O_CREAT | O_EXCL
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
