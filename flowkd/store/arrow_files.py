"""File objects by which pyarrow reads and writes a store, with the store's retries."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

from flowkd.errors import StoreError
from flowkd.store.store import Store

T = TypeVar("T")


class StoreReader:
    """An object open for reading: a read that breaks off is begun again where it was.

    Args:
        store: Where the object lies.
        parts: Its path.

    Raises:
        FileNotFoundError: There is no such object.
        IsADirectoryError: It is a folder.
        StoreError: The store refused it for good, or the object was replaced between two reads.
    """

    def __init__(self, store: Store, parts: tuple[str, ...]) -> None:
        self._store, self._parts = store, parts
        self._file: Any = None
        self._seen: tuple[Any, int] | None = None  # ETag and size when it was first opened
        self._position = 0
        self.closed = False
        self._retry(lambda file: None)

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes: all that are left, if no size is given."""
        data = self._retry(lambda file: file.read(size))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a position, as files do."""
        assert self._seen is not None
        self._position = max(0, offset + (0, self._position, self._seen[1])[whence])
        return self._position

    def tell(self) -> int:
        """Returns the position."""
        return self._position

    def close(self) -> None:
        """Drops the open file."""
        self.closed, self._file = True, None

    def _retry(self, operation: Callable[[Any], T]) -> T:
        def attempt(path: str) -> T:
            try:
                self._file = self._file or self._open(path)
                self._file.seek(self._position)
                return operation(self._file)
            except Exception:
                self._file = None
                raise

        return self._store.retry("read", attempt, *self._parts)

    def _open(self, path: str) -> Any:
        info = self._store.fs.info(path)
        if info["type"] == "directory":
            raise IsADirectoryError(path)
        seen = (info.get("ETag"), info["size"])
        if self._seen not in (None, seen):
            raise StoreError(f"{'/'.join(self._parts)!r} of {self._store.uri} changed while read")
        self._seen = seen
        return self._store.fs.open(path, "rb")


class StoreWriter:
    """An object open for writing: a temporary file that is uploaded when it is closed.

    So an upload can be tried again. The file has no name: whatever ends the process leaves neither
    file nor object.

    Args:
        store: Where the object goes.
        parts: Its path.
    """

    def __init__(self, store: Store, parts: tuple[str, ...]) -> None:
        self._store, self._parts = store, parts
        self._spool = tempfile.TemporaryFile()  # noqa: SIM115

    @property
    def closed(self) -> bool:
        """Whether it is closed."""
        return self._spool.closed

    def write(self, data: Any) -> int:
        """Appends bytes to the file on disk."""
        return self._spool.write(data)

    def tell(self) -> int:
        """Returns the position."""
        return self._spool.tell()

    def flush(self) -> None:
        """Does nothing: an object is written whole."""

    def close(self) -> None:
        """Uploads the file whole."""
        if self.closed:
            return
        with self._spool:
            self._spool.flush()
            self._store.retry("write", self._upload, *self._parts)

    def _upload(self, path: str) -> None:
        self._spool.seek(0)
        self._store.fs.put_file(f"/dev/fd/{self._spool.fileno()}", path)
