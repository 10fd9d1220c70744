"""What was built once on this machine: a folder for each digest, the least recently used go."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from flowkd.store.local_files import make_folder

LIMIT_BYTES = 2 * 2**30
UNFINISHED = ".unfinished-"


def cache_root() -> Path:
    """Returns FLOWKD_CACHE, or the folder `flowkd` of the user's caches."""
    given = os.environ.get("FLOWKD_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flowkd"


def keep(digest: str, build: Callable[[Path], None]) -> Path:
    """Returns the folder of a digest, which is built where there is none.

    Of several processes that ask for it at once, one builds it; it is there whole or not at all.

    Args:
        digest: Of all that the contents depend on.
        build: Writes the contents into an empty folder.

    Raises:
        OSError: The cache cannot be written.
    """
    root = cache_root() / "engines"
    folder = root / digest
    if not folder.exists():
        make_folder(root)
        with _alone(cache_root() / "engines.lock"):
            if not folder.exists():
                _build(folder, build)
        _make_room(root, folder)
    with contextlib.suppress(OSError):
        os.utime(folder)
    return folder


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Has one process of this machine build at a time: the others find what it has built."""
    with open(lock, "a", encoding="utf-8") as file:
        with contextlib.suppress(OSError):  # a filesystem without locks: each builds, one's is kept
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    building = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    try:
        build(building)
        with contextlib.suppress(OSError):  # another process was first
            building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def forget(digest: str) -> None:
    """Removes the folder of a digest."""
    shutil.rmtree(cache_root() / "engines" / digest, ignore_errors=True)


def _make_room(root: Path, newest: Path) -> None:
    """Removes what was used longest ago until the rest is below the limit."""
    kept: list[tuple[float, int, Path]] = []
    for folder in root.iterdir():
        with contextlib.suppress(OSError):  # another process removes it
            size = sum(file.stat().st_size for file in folder.iterdir())
            kept.append((folder.stat().st_mtime, size, folder))
    total = sum(size for _, size, _ in kept)
    for _, size, folder in sorted(kept):
        if total <= LIMIT_BYTES:
            break
        if folder != newest and not folder.name.startswith(UNFINISHED):
            shutil.rmtree(folder, ignore_errors=True)
            total -= size
